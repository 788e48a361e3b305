#!/bin/sh
# The unit tests, the examples and a short load under valgrind's memcheck, or some unit tests alone:
#   memcheck.sh BUILD_DIR [suite/name ...]
#
# Fails on errors, definite leaks, and descriptors of weft's that are open when a test, or an example,
# ends. What a test itself has opened it may leave to the kernel, and so may children that it forks.
set -u
here=$(dirname "$0")
build=$(cd "$1" && pwd)
shift
logs=$build/memcheck
export WTEST_SLOWDOWN="${WTEST_SLOWDOWN-50}"
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0

valgrind="valgrind --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --track-fds=yes"

# left_open LOG...: the descriptors that weft has opened, with the place; fails when there are any
left_open() {
    awk '/== *$/ { if (block ~ /\(os\.[ch]:/) { print block; n++ } block = "" }
        /== Open .*(descriptor|socket) [0-9]+/ { block = FILENAME ":" }
        block { block = block "\n" $0 }
        END { exit n > 0 }' "$@"
}

# part NAME COMMAND...: one that ends with "N passed, N failed"
part() {
    name=$1
    shift
    start=$(date +%s)
    "$@" >"$logs/$name.out" 2>&1 &
    child=$!
    status=0
    wait "$child" || status=$?
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$logs/$name.out" | tail -n 1 >"$logs/sum"
    read -r good bad <"$logs/sum" || good=0 bad=0
    # Those that count: each test is a child of the runner, which is valgrind's command; each example is
    # a command, and no child of one that has a log.
    for log in "$logs/$name".[0-9]*; do
        parent=$(sed -n 's/.*Parent PID: //p' "$log" | head -n 1)
        if [ "$parent" = "$child" ] || { [ "$name" != tests ] && [ ! -e "$logs/$name.$parent" ]; }; then
            echo "$log"
        fi
    done >"$logs/looked-at"
    : >"$logs/left"
    while read -r log; do
        left_open "$log" >>"$logs/left" || bad=$((bad + 1))
    done <"$logs/looked-at"
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    echo "$name: $good passed, $bad failed, $(wc -l <"$logs/looked-at") processes looked at," \
        "$(($(date +%s) - start)) s"
    if [ "$bad" -gt 0 ]; then
        grep -v '^ok ' "$logs/$name.out"
        cat "$logs/left"
        grep -hvE 'escriptor|inherited from parent|== *$' "$logs/$name".[0-9]* | head -n 200
    fi
    passed=$((passed + good)) failed=$((failed + bad))
}

# shellcheck disable=SC2086 # a command and its options
part tests $valgrind --log-file="$logs/tests.%p" "$build/tests/unit-plain" --jobs=2 "$@"
if [ $# -eq 0 ]; then
    export WTEST_WRAPPER="$valgrind --log-file=$logs/examples.%p"
    part examples sh "$here/examples.sh" "$build/examples"
    export WTEST_WRAPPER="$valgrind --log-file=$logs/load.%p"
    part load python3 "$here/short_load.py" "$build/examples" "$build/bench/weft-load"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
