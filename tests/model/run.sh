#!/bin/sh
# Checks tests/model/queue.pml with spin: the model must hold, and each seeded bug must be reported.
#
#   run.sh              all
#   run.sh MUTANT ...   these (none: the model as it is)
#
# Exit status 0 when everything came out as it must; 2 when spin or a compiler is missing. Trails
# of the reported bugs are thrown away; run `spin -DMUTANT -run ...` by hand to look at one.
set -u

here=$(cd "$(dirname "$0")" && pwd)
CC=${CC:-cc}
for tool in spin "$CC"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "run.sh: $tool is missing (Debian: apt-get install spin gcc)" >&2
        exit 2
    fi
done

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

holds='none BUFFERED WAKE_ELSEWHERE+FENCED'
mutants='NO_RECHECK WAKE_ELSEWHERE LOOK_FIRST CLOSE_NOT_ATOMIC TAKE_NOT_ATOMIC NO_WAKE NO_RELEASE
    DESTROY_EARLY CLOSE_EARLY'
failures=0

# Leaves pan's report in $work/$1/report.
explore() {
    name=$1
    mkdir -p "$work/$name"
    defines=
    if [ "$name" != none ]; then
        for define in $(echo "$name" | tr '+' ' '); do
            defines="$defines -D$define"
        done
    fi
    (
        cd "$work/$name" || exit 1
        # shellcheck disable=SC2086
        # (the words of $defines are wanted)
        spin -a $defines "$here/queue.pml" >report 2>&1 &&
            "$CC" -O1 -w -DSAFETY -DMEMLIM=1024 -o pan pan.c >>report 2>&1 &&
            ./pan -m100000 >>report 2>&1
    )
}

# check NAME WANTED: WANTED is "holds" or "reported".
check() {
    explore "$1"
    report=$work/$1/report
    found=$(sed -n 's/^pan:[0-9]*: \(.*\) (at depth.*/\1/p' "$report" | head -n 1)
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$report" | head -n 1)
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' "$report" | head -n 1)
    if [ "$2" = holds ] && [ "$errors" = 0 ] && ! grep -q 'search depth too small' "$report" &&
        ! grep -q 'reached.*memory limit\|Search not completed' "$report"; then
        echo "ok    $1: holds in all $states states"
    elif [ "$2" = reported ] && [ -n "$found" ]; then
        echo "ok    $1: reported: $found"
    else
        echo "FAIL  $1: must be $2, got: ${found:-errors: ${errors:-no result}}"
        tail -n 20 "$report"
        failures=$((failures + 1))
    fi
}

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2086
    set -- $holds $mutants
fi
for name in "$@"; do
    case " $holds " in
    *" $name "*) check "$name" holds ;;
    *) check "$name" reported ;;
    esac
done
if [ "$failures" -ne 0 ]; then
    echo "$failures did not come out as they must"
    exit 1
fi
echo "the model holds, every seeded bug is reported"
