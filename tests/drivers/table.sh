# Sourced by tools/drivers: what is tested on a driver, and the tables of it. `store`, `root` and `rows` are known.
# shellcheck shell=bash disable=SC2154

tab=$(printf '\t')
results='' build='' write='' validation='' instrumented='' kept='' only=.

# Where the programs and tests are that were built last, unless --build says it.
find_build() {
    local folder
    for folder in "$build" "$root/build" "$root/build-check/release"; do
        [ -z "$folder" ] || [ ! -x "$folder/bin/espalier" ] || { build=$(cd "$folder" && pwd) && break; }
    done
    [ -x "$build/bin/espalier" ] || die "no build with tests in it: cmake -S . -B build && cmake --build build"
    results=$build/drivers
    mkdir -p "$results"
}

attribute() { tr '\n\t' '  ' < "$2" | sed -n "s/.*<testsuite[^>]* $1=\"\\([0-9]*\\)\".*/\\1/p"; }

# worst WORD FILE: the largest number after this word in what the tests of whole models print; those of fast mode, which count in
# roundings, are left out
worst() {
    grep -v roundings "$2" | grep -o "$1 [0-9.]*e[-+][0-9]*" | awk '{ if ($NF + 0 > w + 0) w = $NF } END { print w == "" ? "-" : w }'
}

# ---- A driver that computes ----

model_for_speed() {
    local model=$root/../shared/data/tinystories-656k
    [ -f "$model/config.json" ] || model=$root/tools/base
    echo "$model"
}

# Three processes, each from the beginning: logits, loss, gradients and parameters after two steps.
same_bits() { # NAME
    local i golden=$root/tests/golden/llama_lora
    for i in 1 2 3; do
        "$0" run "$1" -- env ESPALIER_CACHE= "$build/bin/espalier" probe --model "$golden" --adapter "$golden/adapter" \
            --ids '1,80,47,5,9,33,2;1,9,9,60,2,8,41' --steps 2 --out "$results/$1.probe$i" > /dev/null 2>&1 || return 1
    done
    cmp -s "$results/$1.probe1" "$results/$1.probe2" && cmp -s "$results/$1.probe1" "$results/$1.probe3"
}

driver_version() { # NAME
    "$0" run "$1" -- "$build/bin/espalier" devices 2> /dev/null | sed -n 's/^ *driver  *//p' | head -n 1
}

speed() { # NAME
    "$0" run "$1" -- "$build/bin/espalier" bench train prompt generate --model "$(model_for_speed)" --repetitions 3 \
        --json 2> /dev/null < /dev/null |
        sed -n 's/^ *"value": \([0-9]*\).*/\1/p' | paste -sd ' '
}

# Installing; host memory that runs out, which makes all kernels again a thousand times; and what has limits of its own, which
# are drivers themselves.
not_of_a_driver='^(e2e/install_and_link|model/memory|.*_(small|other))$'

# The tests that a driver has a part in: words for ctest; those of --only.
suite=(-L '^(gpu|ops|model|train|engine|e2e)$' -E "$not_of_a_driver")

# run_suite NAME REPORT: status of ctest, REPORT and REPORT.log; $all, $bad and $left count
run_suite() {
    local name=$1 report=$2 status
    rm -f "$report"
    "$0" run "$name" -- ctest --test-dir "$build" "${suite[@]}" -R "$only" --parallel "${CTEST_PARALLEL_LEVEL:-$jobs}" \
        --timeout 900 --output-on-failure --test-output-size-passed 100000 \
        --output-junit "$report" > "$report.log" 2>&1 < /dev/null
    status=$?
    [ -s "$report" ] || { tail -n 3 "$report.log" && return 1; }
    all=$(attribute tests "$report") bad=$(attribute failures "$report") left=$(attribute skipped "$report")
    grep -E '\*\*\*(Failed|Timeout|Exception)' "$report.log"
    return $status
}

# With the validation layer forced upon each test from outside; any message fails it. Instrumented: with the kernels of
# GPUs, because those of software drivers take minutes to compile; and with vectors of 128 bits, because what lavapipe 26.1 makes of
# watched kernels for 256 tells of accesses that there are not (README.md).
test_validation() { # NAME
    local folder=$results/validation/$1 with=() watch=(bash "$drivers/validate.sh" "$build") status
    [ -z "$instrumented" ] || with=(env ESPALIER_LIMITS=cpu=0 LP_NATIVE_VECTOR_WIDTH=128)
    mkdir -p "$folder"
    "$0" run "$1" -- "${watch[@]}" "$folder" layer "$instrumented" || return 1
    ctest --test-dir "$build" "${suite[@]}" -R "$only" -N | sed -n 's/^ *Test *#[0-9]*: //p' |
        "$0" run "$1" -- "${with[@]}" xargs -P "${CTEST_PARALLEL_LEVEL:-$jobs}" -I '{}' \
            "${watch[@]}" "$folder" '{}' "$instrumented" | tee "$folder/report"
    status=$(awk '{ n[$1]++ } END { printf "%d passed, %d failed, %d skipped", n["passed"], n["FAILED"], n["skipped"] }' \
        "$folder/report")
    echo "$1 with validation${instrumented:+, shaders instrumented}: $status"
    [[ $status != 0\ passed* && $status == *\ 0\ failed* ]]
}

test_runs() { # NAME
    local name=$1 report=$results/$1.xml all=0 bad=0 left=0 bits=same failed=0 train prompt generate
    run_suite "$name" "$report" || failed=1
    same_bits "$name" || { bits="**not the same**" && failed=1; }
    read -r train prompt generate < <(speed "$name")
    echo "| $name | $(driver_version "$name") | $((all - bad - left)) of $all |" \
        "$(worst logits "$report") | $(worst gradients "$report") | $(worst parameters "$report") | $bits |" \
        "${train:--} | ${prompt:--} | ${generate:--} |" > "$results/$name.row"
    echo "$name: $((all - bad - left)) tests passed, $bad failed, $left skipped; three runs: $bits bits"
    return $failed
}

runs_header='| driver | version | tests | logits | gradients | two AdamW steps | three runs, bits | training | prompt | generation |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |'

# ---- A driver that compiles ----

# One line per kernel with the columns of statistics.txt: shader, constants, registers, memory, shared, instructions,
# milliseconds; memory is "failed" where there is no kernel.
normalise() { # KERNELS
    awk -F '\t' '
        NR == FNR {
            if ($0 !~ /^ *(#|$)/) {
                n = split($0, word, / +/)
                for (i = 2; i <= n; i++) { gsub(/_/, " ", word[i]); column[word[i]] = word[1] }
            }
            next
        }
        {
            split("", value)
            for (i = 4; i <= NF; i++) {
                at = match($i, /=[^=]*$/)
                name = substr($i, 1, at - 1); number = substr($i, at + 1)
                if (name == "FAILED") value["memory"] = "failed"
                else if (name in column && value["memory"] != "failed") value[column[name]] += number
            }
            printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", $1, $2, value["registers"], value["memory"], value["shared"],
                value["instructions"], $3
        }' "$drivers/statistics.txt" "$1"
}

test_compiles() { # NAME
    local name=$1 failed=0
    "$0" run "$name" -- bash "$drivers/kernels.sh" "$build" "$results/$name.raw" > "$results/$name.log" 2>&1 || failed=1
    head -n 12 "$results/$name.log"
    [ -s "$results/$name.raw" ] || { tail -n 3 "$results/$name.log" && return 1; }
    normalise "$results/$name.raw" > "$results/$name.kernels"
    awk -F '\t' -v name="$name" '$4 == "failed" || $4 > 0 {
            print name ": " $1 " [" $2 "] " ($4 == "failed" ? "could not be made" : "keeps values in memory: " $4)
            bad = 1
        } END { exit bad }' "$results/$name.kernels" || failed=1
    awk -F '\t' -v name="$name" -v what="$(rows driver | awk -v n="$name" '$1 == n { gsub(/_/, " ", $5); print $5 }')" '
        { kernels++ }
        $4 == "failed" { failed++ }
        $4 + 0 > 0 { memory++ }
        $3 + 0 > registers { registers = $3 + 0; which = $1 }
        $5 + 0 > shared { shared = $5 + 0 }
        $6 + 0 > instructions { instructions = $6 + 0; longest = $1 }
        END {
            printf "| %s | %s | %d | %d | %d | %d (%s) | %s | %d (%s) |\n", name, what, kernels, failed, memory,
                registers, which, shared ? shared : "-", instructions, longest
        }' "$results/$name.kernels" > "$results/$name.row"
    echo "$name: $(wc -l < "$results/$name.kernels") kernels"
    return $failed
}

compiles_header='| driver | like | kernels | not made | values in memory | most registers of a lane | shared bytes | most instructions |
| --- | --- | --- | --- | --- | --- | --- | --- |'

# Every kernel on every driver, side by side: registers, and what it keeps in memory if anything.
write_matrix() { # NAME...
    local name
    for name in "$@"; do
        [ ! -s "$results/$name.kernels" ] || sed "s/^/$name$tab/" "$results/$name.kernels"
    done | awk -F '\t' -v names="$*" '
        {
            key = $2 "\t" $3
            if (!(key in seen)) { seen[key] = 1; order[++count] = key }
            cell[key, $1] = $4 ($5 == "failed" ? " not made" : $5 > 0 ? " memory " $5 : "")
        }
        END {
            n = split(names, driver, " ")
            printf "| kernel | constants |"
            for (i = 1; i <= n; i++) printf " %s |", driver[i]
            printf "\n| --- | --- |"
            for (i = 1; i <= n; i++) printf " --- |"
            for (k = 1; k <= count; k++) {
                split(order[k], part, "\t")
                printf "\n| %s | %s |", part[1], part[2]
                for (i = 1; i <= n; i++) printf " %s |", cell[order[k], driver[i]]
            }
            print ""
        }' > "$results/kernels.md"
}

# ---- Both ----

# write_between MARKER: stdin takes the place of what is between the two lines of README.md that name the marker
write_between() {
    local text
    text=$(cat)
    grep -q "^<!-- $1 -->" "$root/README.md" || die "README.md has no <!-- $1 -->"
    TEXT=$text awk -v begin="<!-- $1 -->" -v end="<!-- /$1 -->" '
        $0 == end { inside = 0 }
        !inside
        $0 == begin { inside = 1; print ENVIRON["TEXT"] }' "$root/README.md" > "$root/README.md.tmp" &&
        mv "$root/README.md.tmp" "$root/README.md"
}

# arguments WORD...: --build FOLDER, --only TESTS, --write, --kept, --validation, --instrumented
arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --write) write=yes ;;
        --kept) kept=yes ;;
        --validation) validation=yes ;;
        --instrumented) validation=yes instrumented=instrumented ;;
        --only) only=${2:?tests} && shift ;;
        --build) build=${2:?a folder} && shift ;;
        *) die "what is $1?" ;;
        esac
        shift
    done
    find_build
}

# test_one NAME: 0, 1, or 77 with the sentence why not
test_one() {
    local does
    does=$(rows driver | awk -v name="$1" '$1 == name { print $2 }')
    [ -n "$does" ] || die "there is no driver $1"
    if cannot "$1"; then
        echo "$1: $sentence"
        return 77
    fi
    [ -z "$validation" ] || does=validation
    [ "$does" = validation ] || rm -f "$results/$1.row"
    "test_$does" "$1"
}

test_driver() {
    local name=${1:?a driver}
    shift
    arguments "$@"
    test_one "$name"
}

table() {
    local does=${1:?runs or compiles} failed=0 name header list=()
    shift
    arguments "$@"
    case $does in runs) header=$runs_header ;; compiles) header=$compiles_header ;; *) die "table runs or compiles" ;; esac
    read -r -a list < <(names "$does" | paste -sd ' ')
    for name in "${list[@]}"; do
        [ -z "$kept" ] || break
        test_one "$name" >&2
        case $? in 0 | 77) ;; *) failed=1 ;; esac
    done
    [ "$does" != compiles ] || write_matrix "${list[@]}"
    {
        # shellcheck disable=SC2016 # not for the shell
        [ "$does" != runs ] || [ "$only" = . ] || printf 'Of the suite, the tests that `%s` names:\n\n' "$only"
        echo "$header"
        for name in "${list[@]}"; do cat "$results/$name.row" 2> /dev/null; done
    } | if [ -n "$write" ]; then write_between "drivers:$does"; else cat; fi
    return $failed
}
