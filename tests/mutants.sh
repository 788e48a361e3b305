#!/bin/sh
# Each seeded bug against the test that is there for it: mutants.sh BUILD_DIR TSAN_BUILD_DIR
#
# A test counts as evidence only when it passes on the library as it is and fails with the bug alive:
# by a failed check, a crash, or not coming to an end. The table is tests/mutants.txt; a bug in the
# sources that it does not list, or one listed that is not in the sources, is an error. An id behind
# "tsan:" is a bug that only ThreadSanitizer can see.
set -u
build=$1
tsan_build=$2
here=$(dirname "$0")
table=$here/mutants.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
survivors=0 errors=0 caught=0

# Without comments and blank lines, fields apart by one '|'.
sed 's/#.*//; s/ *| */|/g; s/^ *//; s/ *$//; /^$/d' "$table" >"$work/table"
cut -d'|' -f1 "$work/table" | sed 's/^tsan://' | sort >"$work/listed"
grep -rhoE 'MUTANT\("[^"]+"\)' "$here/../lib" | sed 's/.*"\(.*\)".*/\1/' | sort -u >"$work/seeded"
comm -13 "$work/listed" "$work/seeded" | sed 's/^/ERROR in lib, but not in mutants.txt: /' >"$work/errors"
comm -23 "$work/listed" "$work/seeded" | sed 's/^/ERROR in mutants.txt, but not in lib: /' >>"$work/errors"
uniq -d "$work/listed" | sed 's/^/ERROR twice in mutants.txt: /' >>"$work/errors"

list_tests() {
    for program in "$1"/tests/*-plain; do
        "$program" --list | sed "s|\$| $program|"
    done
}
list_tests "$build" >"$work/tests"
list_tests "$tsan_build" >"$work/tests.tsan"

# The seconds that a healthy run of the test takes, measured once; fails when it does not pass.
healthy() {
    record=$work/healthy.$(echo "$1 $2" | tr '/ ' ..)
    if [ ! -e "$record" ]; then
        start=$(date +%s)
        if timeout -k 5 300 "$2" "$1" >"$work/log" 2>&1; then
            echo $(($(date +%s) - start)) >"$record"
        else
            cat "$work/log" >&2
            echo fails >"$record"
        fi
    fi
    seconds=$(cat "$record")
    [ "$seconds" != fails ]
}

printf '%-28s %-52s %-44s %s\n' id bug "test" verdict
while IFS='|' read -r id bug test; do
    tests=$work/tests
    case $id in
        tsan:*) id=${id#tsan:} tests=$work/tests.tsan ;;
    esac
    program=$(sed -n "s|^$test ||p" "$tests" | head -n 1)
    if [ -z "$program" ]; then
        verdict="ERROR: no such test"
        errors=$((errors + 1))
    elif ! healthy "$test" "$program"; then
        verdict="ERROR: fails without the bug"
        errors=$((errors + 1))
    else
        status=0
        WEFT_MUTANT=$id timeout -k 5 $((seconds * 5 + 20)) "$program" "$test" >"$work/log" 2>&1 || status=$?
        if [ "$status" -eq 0 ]; then
            verdict="SURVIVED"
            survivors=$((survivors + 1))
        else
            caught=$((caught + 1))
            case $status in
                124 | 137) verdict="caught (no end)" ;;
                *) verdict="caught" ;;
            esac
        fi
    fi
    printf '%-28s %-52s %-44s %s\n' "$id" "$bug" "$test" "$verdict"
done <"$work/table"

cat "$work/errors"
errors=$((errors + $(wc -l <"$work/errors")))
echo "mutants: $caught caught, $survivors survived, $errors errors"
[ "$survivors" -eq 0 ] && [ "$errors" -eq 0 ] && [ "$caught" -gt 0 ]
