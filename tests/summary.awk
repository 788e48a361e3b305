# Counts what `ctest -V` ran, and shows of its output only what matters:
#   ctest -V | awk -v totals=FILE -f summary.awk
# A test program that counts its own tests (Criterion's synthesis, or "N passed, N failed") is worth
# that many, any other one is worth one. What the schedules of a program come to is said behind it.
# Adds "PASSED FAILED" to the file; exit status 0 when nothing failed and something ran.

function number_after(text, word) {
    return match(text, word ": *[0-9]+") ? substr(text, RSTART + length(word) + 1) + 0 : 0
}

/^ *[0-9]+: / {
    id = $1 + 0
    text = $0
    sub(/^ *[0-9]+: ?/, "", text)
    if (text !~ /^(Test command|Working Directory|Test timeout|Environment variables|ok   )/)
        output[id] = output[id] text "\n"
    if (match(text, /: [0-9]+ schedules, /)) {
        schedules[id] += substr(text, RSTART + 2) + 0
        explored[id]++
    }
    if (text ~ /Synthesis:/) {
        gsub(/\033\[[0-9;]*m/, "", text)
        passed[id] += number_after(text, "Passing")
        failed[id] += number_after(text, "Tested") - number_after(text, "Passing")
    } else if (match(text, /^[0-9]+ passed, [0-9]+ failed/)) {
        split(substr(text, RSTART, RLENGTH), word, " ")
        passed[id] += word[1]
        failed[id] += word[3]
    }
    next
}

/ Test +#[0-9]+: / {
    print
    fflush()
    match($0, /#[0-9]+:/)
    id = substr($0, RSTART + 1) + 0
    good = / Passed +[0-9.]+ sec/
    if (schedules[id] && match($0, /[0-9.]+ sec/))
        printf "    %s: %d schedules of %d tests, %.0f schedules/s\n", $4, schedules[id],
            explored[id], schedules[id] / (substr($0, RSTART) + 0.01)
    if (passed[id] + failed[id] == 0 && !/Skipped/) {
        passed[id] = good
        failed[id] = !good
    } else if (!good && failed[id] == 0 && !/Skipped/) {
        failed[id] = 1 # it died after its last test, or ran out of time
    }
    if (!good)
        printf "%s", output[id]
    all_passed += passed[id]
    all_failed += failed[id]
    programs++
    next
}

/^(CMake Error|ctest:|No tests|Cannot|Could not|Errors while)/ { print }

END {
    if (programs == 0) {
        print "no test ran"
        all_failed++
    }
    print all_passed + 0, all_failed + 0 >> totals
    exit all_failed > 0
}
