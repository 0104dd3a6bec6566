# Starting and stopping servers for the suites; sourced by `run` and by the suites that need servers of their own.
#
#   CLIENTS_SERVER   the program, as words that take etcd's flags ("coffer etcd", "/usr/bin/etcd")
#   CLIENTS_SCRATCH  where data directories and logs go; set by `run`
#
# Every server listens on loopback, on ports that the kernel chose, and is stopped by its own process id.
declare -A server_pid server_endpoint server_log

# Two ports that are free now.
free_ports() {
    python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(socket.getsockname()[1] for socket in held))'
}

# healthy HOST:PORT: it answers, and not that it is unavailable, as etcd does until it has a leader.
healthy() {
    local answer
    answer=$({ exec 3<>"/dev/tcp/${1%:*}/${1#*:}" \
        && printf 'GET /health HTTP/1.0\r\nHost: %s\r\n\r\n' "$1" >&3 \
        && timeout 5 cat <&3; } 2>/dev/null) || return 1
    [[ $answer == HTTP/1* && $answer != HTTP/1.?' '503* ]]
}

# start_server NAME [DATA_DIR [PROGRAM...]]: runs it until it is healthy; a port taken meanwhile is answered by others.
start_server() {
    local name=$1 data=${2:-$CLIENTS_SCRATCH/$1.data} ports client peer log=$CLIENTS_SCRATCH/$1.log
    local -a program=("${@:3}")
    [ ${#program[@]} -gt 0 ] || read -ra program <<<"$CLIENTS_SERVER"
    for _ in 1 2 3; do
        read -r client peer <<<"$(free_ports)"
        "${program[@]}" --name default --data-dir "$data" \
            --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
            --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
            --initial-cluster "default=http://127.0.0.1:$peer" >"$log" 2>&1 &
        server_pid[$name]=$!
        server_log[$name]=$log
        server_endpoint[$name]=127.0.0.1:$client
        for _ in $(seq 300); do
            healthy "127.0.0.1:$client" && return
            kill -0 "${server_pid[$name]}" 2>/dev/null || break
            sleep 0.1
        done
        stop_server "$name" || true
        grep -qi 'address already in use' "$log" || break
    done
    echo "${program[*]} did not become healthy; its log ends:" >&2
    tail -n 20 "$log" >&2
    return 1
}

# stop_server NAME: SIGTERM, and SIGKILL after 20 seconds; fails if it was not running or did not stop by itself.
stop_server() {
    local pid=${server_pid[$1]:-}
    [ -n "$pid" ] || return 0
    unset "server_pid[$1]"
    kill -TERM "$pid" 2>/dev/null || { echo "server $1 had stopped: $(tail -n 3 "${server_log[$1]}")" >&2; return 1; }
    for _ in $(seq 200); do
        if ! kill -0 "$pid" 2>/dev/null; then
            local code=0
            wait "$pid" 2>/dev/null || code=$?
            [ $code = 0 ] || [ $code = 143 ] || { echo "server $1 stopped with $code" >&2; return 1; } # 143: by SIGTERM
            return 0
        fi
        sleep 0.1
    done
    kill -KILL "$pid" && wait "$pid" 2>/dev/null || true
    echo "server $1 did not stop within 20 seconds" >&2
    return 1
}

stop_all_servers() {
    local name failed=0
    for name in "${!server_pid[@]}"; do stop_server "$name" || failed=1; done
    return $failed
}
