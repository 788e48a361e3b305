#!/bin/sh
# The figures of README and docs, each by its name: ./run figures NAME...
# Without a name: all of them, about twenty minutes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
shift
bench=$build/bench

# with_server COMMAND... -- runs "$drive ADDRESS" while the command serves; both end before it returns
listening() {
    for _ in $(seq 200); do
        sed -n 's/^listening on \([^ ]*\).*/\1/p' "$1" | grep . && return
        sleep 0.05
    done
    echo "no server: $(cat "$1")" >&2
    return 1
}

# drive OUTPUT CONNECTIONS REQUESTS COMMAND...: requests through a server that the command runs under
# a tool
drive() {
    output=$1 connections=$2 requests=$3
    shift 3
    "$@" >"$output" 2>"$output.err" &
    server=$!
    address=$(listening "$output")
    "$bench/weft-load" --address "$address" --connections "$connections" --requests "$requests" \
        --quiet >/dev/null
    # the tool's child is the server where the tool forks, as strace does
    kill -TERM "$(pgrep -P "$server" | head -n 1)" 2>/dev/null || kill -TERM "$server"
    wait "$server" || true
}

figure_echo() {
    python3 "$here/load/compare.py" --build-dir "$build" --connections 1,50,1000 --rounds 14 --slice 0.4 \
        --servers epoll_idle,epoll,weft,uv_try,uv_write,uv_write_je
}

figure_pipeline() {
    python3 "$here/load/compare.py" --build-dir "$build" --connections 50 --pipeline 16 --rounds 8 \
        --slice 0.4 --servers epoll,weft,weft_each,epoll_each,uv_try,uv_each
}

# The difference of two runs, so that starting and stopping cancel out.
instructions_of() {
    name=$1 connections=$2
    shift 2
    for requests in 4000 14000; do
        drive "$work/callgrind" "$connections" "$requests" valgrind --tool=callgrind \
            --callgrind-out-file=/dev/null "$@" --address 127.0.0.1:0 --workers 1
        sed -n 's/.*refs: *//p' "$work/callgrind.err" | tr -d , >"$work/instructions.$requests"
    done
    few=$(cat "$work/instructions.4000") many=$(cat "$work/instructions.14000")
    printf '  %-22s %5d connections  %6d instructions per request\n' "$name" "$connections" \
        $(((many - few) / 10000))
}

figure_instructions() {
    echo "user instructions per echoed request of 64 bytes (callgrind)"
    for connections in 1 50; do
        instructions_of "raw epoll" "$connections" "$bench/echo_epoll" --idle-thread
        instructions_of weft "$connections" "$bench/echo_weft"
        instructions_of "libuv, uv_try_write" "$connections" "$bench/echo_uv" --try-write
        instructions_of "libuv, uv_write" "$connections" "$bench/echo_uv"
    done
}

syscalls_of() {
    name=$1 connections=$2
    shift 2
    drive "$work/strace" "$connections" 10000 strace -f -c -o "$work/calls" "$@" --address 127.0.0.1:0 \
        --workers 1
    awk -v name="$name" -v connections="$connections" '
        $NF ~ /^(recvfrom|sendto|read|write|readv|writev|recvmsg|sendmsg|epoll_wait|epoll_pwait|epoll_pwait2|epoll_ctl|futex|poll)$/ {
            count[$NF] += $4; total += $4 }
        END { printf "  %-22s %5d connections  %5.2f per request:", name, connections, total / 10000
              for (call in count) if (count[call] >= 100) printf " %s %.2f", call, count[call] / 10000
              print "" }' "$work/calls"
}

figure_syscalls() {
    echo "system calls per echoed request of 64 bytes (strace -c, 10 000 requests)"
    for connections in 1 50; do
        syscalls_of "raw epoll" "$connections" "$bench/echo_epoll"
        syscalls_of weft "$connections" "$bench/echo_weft"
        syscalls_of "libuv, uv_try_write" "$connections" "$bench/echo_uv" --try-write
        syscalls_of "libuv, uv_write" "$connections" "$bench/echo_uv"
    done
}

figure_posts() {
    python3 "$here/load/posts.py" --build-dir "$build"
}

figure_queues() {
    "$bench/weft-micro" queues
}

figure_timers() {
    "$bench/weft-micro" timers
}

figure_directory() {
    "$bench/weft-micro" directory
}

figure_memory() {
    for connections in 10000 100000; do
        python3 "$here/load/memory.py" idle --connections "$connections" --build-dir "$build" \
            --servers weft,weft_timeouts,weft_ids,weft_both,epoll,uv_try
    done
    python3 "$here/load/memory.py" deaf --connections 1000 --servers weft --build-dir "$build"
}

# And whether spinning pays for one connection, its client on another CPU.
figure_wakeups() {
    "$bench/weft-flow" wakeups
    python3 "$here/load/compare.py" --build-dir "$build" --connections 1 --pin apart --rounds 14 \
        --slice 0.4 --servers weft,weft_spin,epoll
}

figure_transfer() {
    "$bench/weft-flow" transfer
}

figure_sends() {
    "$bench/weft-flow" sends
}

figure_moves() {
    "$bench/weft-flow" moves
}

figure_signals() {
    "$bench/weft-events" signals
}

figure_spawn() {
    "$bench/weft-events" spawn
}

figure_exits() {
    "$bench/weft-events" exits
}

figure_http() {
    python3 "$here/load/pages.py" --build-dir "$build"
}

figure_redis() {
    python3 "$here/load/redis.py" --build-dir "$build"
}

figure_accept() {
    "$bench/weft-accept"
}

all="echo pipeline instructions syscalls posts wakeups sends moves transfer queues timers directory memory"
all="$all signals spawn exits http redis accept"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $all
for figure in "$@"; do
    case " $all " in
    *" $figure "*) ;;
    *)
        echo "no figure named $figure; there are: $all" >&2
        exit 2
        ;;
    esac
    echo "== $figure"
    "figure_$figure"
done
