#!/bin/sh
# Makes a snapshot file as those beside this script: by a real etcd, which is started for it in a directory of its own.
#
#   make-snapshot.sh ETCD ETCDCTL FILE
#
# The files that are here came of etcd 3.4.23 and 3.7.1, each with its own etcdctl. What the tests know of their content, in
# tests/snapshot.rs, holds for every file that this makes, but for the HashKV, which this prints: the lease's id goes into
# it, and etcd chooses that. The length of a file depends on what etcd has left free in it.
set -eu

etcd=$1 etcdctl=$2 file=$3
home=$(mktemp -d)
export ETCDCTL_API=3
# Any two free ports. A member that finds one taken ends, and so does this.
client=http://127.0.0.1:${CLIENT_PORT:-23510} peer=http://127.0.0.1:${PEER_PORT:-23511}

"$etcd" --data-dir "$home/data" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    >"$home/log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" || true; rm -rf "$home"' EXIT

ctl() { "$etcdctl" --endpoints "$client" "$@"; }

tries=0
until ctl endpoint health >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$pid" 2>/dev/null; then
        cat "$home/log" >&2
        exit 1
    fi
    sleep 0.1
done

ctl put gone 1 # revision 2
ctl del gone
for n in 1 2 3 4 5 6 7 8; do
    ctl put "config/$((n % 3))" "value $n" # 4 to 11
done
lease=$(ctl lease grant 100000 | cut -d ' ' -f 2)
ctl put --lease "$lease" leased/a 1
ctl put --lease "$lease" leased/b 2
ctl del config/1 # 14
head -c 9000 /dev/zero | tr '\0' x | ctl put big
printf '\nput config/2 "in a txn"\nput config/4 ""\ndel config/0\n\n\n' | ctl txn # 16
for n in 1 2 3; do
    ctl put config/1 "again $n"
done
ctl compact --physical 9

ctl endpoint hashkv -w json
ctl snapshot save "$file"
