#!/bin/sh
# The tests under valgrind's memcheck: memcheck.sh BUILD_DIR [suite/name ...]
# Fails on errors and definite leaks; descriptors open at the end are shown, with the place that made
# them, but a test may leave some to its end.
set -u
build=$1
shift
log=$build/memcheck.log
export WTEST_SLOWDOWN="${WTEST_SLOWDOWN-50}"

status=0
valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
    --track-fds=yes --log-file="$log.%p" "$build/tests/unit-plain" "$@" || status=$?
cat "$log".* >"$log"
rm -f "$log".*
awk '/Open file descriptor/ { opened = $0; next }
    opened && !/inherited from parent/ && NF > 1 { print opened; n++; shown = 8 }
    { opened = "" }
    shown > 0 { print; shown-- }
    END { if (n) print n " descriptors were open at the end of their process" }' "$log"
if [ "$status" -ne 0 ]; then
    grep -vE 'FILE DESCRIPTORS|Open file descriptor|inherited from parent|== *$' "$log" | head -n 200
fi
exit "$status"
