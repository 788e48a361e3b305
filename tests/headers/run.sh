#!/bin/sh
# Each public header alone, twice, as strict C11, C17 and C++17, with every compiler that is here:
#   run.sh SOURCE_DIR
set -u
include=$1/include
failed=0
compiled=0

for compiler in gcc clang-14 clang; do
    command -v "$compiler" >/dev/null || continue
    [ "$compiler" = clang ] && command -v clang-14 >/dev/null && continue
    for header in "$include"/weft.h "$include"/weft/*.h; do
        name=${header#"$include"/}
        for language in c:c11 c:c17 c++:c++17; do
            compiled=$((compiled + 1))
            # A declaration after it, because an empty translation unit is not pedantic C.
            if ! printf '#include <%s>\n#include <%s>\nextern int nothing;\n' "$name" "$name" |
                "$compiler" -x "${language%%:*}" "-std=${language#*:}" -Wall -Wextra -Wpedantic \
                    -Werror -fsyntax-only -I "$include" -; then
                echo "FAIL $name as ${language#*:} with $compiler"
                failed=$((failed + 1))
            fi
        done
    done
done

for header in "$include"/weft/*.h; do
    name=weft/${header##*/}
    if ! printf '#include <weft.h>\n' | gcc -x c -std=c11 -I "$include" -M - | grep -q "$name"; then
        echo "FAIL weft.h does not include $name"
        failed=$((failed + 1))
    fi
done

echo "headers: $compiled compilations, $failed failures"
[ "$failed" -eq 0 ] && [ "$compiled" -gt 0 ]
