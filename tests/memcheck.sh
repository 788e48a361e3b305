#!/bin/sh
# The unit tests, the examples and a short load under valgrind's memcheck, or some unit tests alone:
#   memcheck.sh BUILD_DIR [suite/name ...]
#
# Fails on errors, definite leaks, and descriptors that a test or an example has left open at its end.
# Children that a test forks may leave theirs to the kernel.
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

# left_open LOG...: the descriptors with the place that opened them; fails when there are any
left_open() {
    awk '/Open file descriptor/ { opened = $0; next }
        opened && !/inherited from parent/ { print FILENAME ": " opened; shown = 9; n++ }
        { opened = "" }
        shown-- > 0
        END { exit n > 0 }' "$@"
}

# part NAME COMMAND...: one that ends with "N passed, N failed"
part() {
    name=$1
    shift
    start=$(date +%s)
    "$@" >"$logs/$name.out" 2>&1
    status=$?
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$logs/$name.out" | tail -n 1 >"$logs/sum"
    read -r good bad <"$logs/sum" || good=0 bad=0
    # Of the examples and servers each is a command of valgrind's own, of the tests each is a fork.
    if [ "$name" = tests ]; then
        sed -n "s|^ok  .* \([0-9]*\)\$|$logs/tests.\1|p" "$logs/$name.out" >"$logs/looked-at"
    else
        grep -ls 'Memcheck, a memory error detector' "$logs/$name".[0-9]* >"$logs/looked-at"
    fi
    : >"$logs/left"
    while read -r log; do
        [ ! -e "$log" ] || left_open "$log" >>"$logs/left" || bad=$((bad + 1))
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
part tests $valgrind --log-file="$logs/tests.%p" "$build/tests/unit-plain" --jobs=2 --pids "$@"
if [ $# -eq 0 ]; then
    export WTEST_WRAPPER="$valgrind --log-file=$logs/examples.%p"
    part examples sh "$here/examples.sh" "$build/examples"
    export WTEST_WRAPPER="$valgrind --log-file=$logs/load.%p"
    part load python3 "$here/short_load.py" "$build/examples" "$build/bench/weft-load"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
