# Starting and stopping servers for the suites; sourced by `run` and by the suites that need servers of their own.
#
#   CLIENTS_SERVER   the program, as words that take etcd's flags ("coffer etcd", "/usr/bin/etcd")
#   CLIENTS_SCRATCH  where data directories and logs go; set by `run`
#
# Every server listens on loopback, on ports that the kernel chose, and is stopped by its own process id.
declare -A server_pid server_endpoint server_log server_words cluster_endpoints

# Nobody connects from here: connections over loopback come from 127.0.0.1, and one of those may take the number of a dead
# member's port.
loopback=127.0.0.2

# free_ports COUNT: so many ports that are free now.
free_ports() {
    python3 -c '
import socket, sys
held = [socket.create_server((sys.argv[2], 0)) for _ in range(int(sys.argv[1]))]
print(*(socket.getsockname()[1] for socket in held))' "$1" "$loopback"
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
    local name=$1 data=${2:-$CLIENTS_SCRATCH/$1.data}
    local -a program=("${@:3}")
    [ ${#program[@]} -gt 0 ] || read -ra program <<<"$CLIENTS_SERVER"
    for _ in 1 2 3; do
        local client peer
        read -r client peer <<<"$(free_ports 2)"
        launch_member "$name" "$data" default "$client" "$peer" "default=http://$loopback:$peer"
        until_healthy "$name" && return
        stop_server "$name" || true
        grep -qi 'address already in use' "${server_log[$name]}" || break
    done
    never_healthy "$name"
}

# start_cluster NAME COUNT [PROGRAM...]: members NAME-1, NAME-2 and so on; cluster_endpoints[NAME] has all of them.
start_cluster() {
    local name=$1 count=$2 number
    local -a program=("${@:3}")
    [ ${#program[@]} -gt 0 ] || read -ra program <<<"$CLIENTS_SERVER"
    for _ in 1 2 3; do
        local -a ports=() all=() endpoints=()
        read -ra ports <<<"$(free_ports $((2 * count)))"
        for number in $(seq "$count"); do all+=("m$number=http://$loopback:${ports[2 * number - 1]}"); done
        for number in $(seq "$count"); do
            launch_member "$name-$number" "$CLIENTS_SCRATCH/$name-$number.data" "m$number" \
                "${ports[2 * number - 2]}" "${ports[2 * number - 1]}" "$(IFS=,; echo "${all[*]}")"
            endpoints+=("${server_endpoint[$name-$number]}")
        done
        cluster_endpoints[$name]=$(IFS=,; echo "${endpoints[*]}")
        local healthy=1
        for number in $(seq "$count"); do until_healthy "$name-$number" || { healthy=0; break; }; done
        [ $healthy = 0 ] || return 0
        for number in $(seq "$count"); do stop_server "$name-$number" || true; done
        grep -qi 'address already in use' "$CLIENTS_SCRATCH/$name"-*.log || break
    done
    never_healthy "$name-$number"
}

# launch_member NAME DATA_DIR MEMBER CLIENT_PORT PEER_PORT INITIAL_CLUSTER [STATE]: in the background; needs `program`.
launch_member() {
    local log=$CLIENTS_SCRATCH/$1.log
    # Its log goes on over restarts.
    "${program[@]}" --name "$3" --data-dir "$2" \
        --listen-client-urls "http://$loopback:$4" --advertise-client-urls "http://$loopback:$4" \
        --listen-peer-urls "http://$loopback:$5" --initial-advertise-peer-urls "http://$loopback:$5" \
        --initial-cluster "$6" ${7:+--initial-cluster-state "$7"} >>"$log" 2>&1 &
    server_pid[$1]=$!
    server_log[$1]=$log
    server_endpoint[$1]=$loopback:$4
    server_words[$1]=$*
}

# kill_server NAME: as a crash does it. relaunch NAME: with its data, until it is healthy; needs `program`.
kill_server() {
    local pid=${server_pid[$1]}
    unset "server_pid[$1]"
    kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
}

relaunch() {
    # shellcheck disable=SC2086 # the words it was launched with
    launch_member ${server_words[$1]}
    until_healthy "$1" || never_healthy "$1"
}

# leader_of NAME COUNT: which member of a cluster leads.
leader_of() {
    local number
    for _ in $(seq 100); do
        for number in $(seq "$2"); do
            leads "${server_endpoint[$1-$number]}" && { echo "$1-$number"; return; }
        done
        sleep 0.2
    done
    return 1
}

leads() {
    python3 - "$1" <<'PYTHON' 2>/dev/null
import json, sys, urllib.request
asked = urllib.request.Request(f"http://{sys.argv[1]}/v3/maintenance/status", data=b"{}")
status = json.load(urllib.request.urlopen(asked, timeout=5))
sys.exit(status["header"]["member_id"] != status["leader"])
PYTHON
}

until_healthy() {
    for _ in $(seq 300); do
        healthy "${server_endpoint[$1]}" && return
        kill -0 "${server_pid[$1]}" 2>/dev/null || return
        sleep 0.1
    done
    return 1
}

never_healthy() {
    echo "${program[*]} did not become healthy; its log ends:" >&2
    tail -n 20 "${server_log[$1]}" >&2
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
    kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    echo "server $1 did not stop within 20 seconds" >&2
    return 1
}

stop_all_servers() {
    local name failed=0
    for name in "${!server_pid[@]}"; do stop_server "$name" || failed=1; done
    return $failed
}
