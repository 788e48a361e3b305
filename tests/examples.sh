#!/bin/sh
# Runs each example as a user would, and sees that it does what its comment says; and that the
# program in the README is one that compiles: examples.sh EXAMPLES_DIR
set -eu
here=$(dirname "$0")
examples=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The README's first program. cc, or what the environment names instead.
# shellcheck disable=SC2016 # these are not expansions
sed -n '/^```c$/,/^```$/p' "$here/../README.md" | awk '/^```$/ { exit } !/^```/' >"$work/readme.c"
if ! grep -q 'int main' "$work/readme.c" ||
    ! "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -fsyntax-only -I "$here/../include" "$work/readme.c"; then
    echo "FAIL the program in README.md does not compile"
    exit 1
fi

TSAN_OPTIONS="${TSAN_OPTIONS-}:suppressions=$here/tsan.supp" python3 "$here/examples.py" "$examples"
