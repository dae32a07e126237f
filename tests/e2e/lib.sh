# Sourced by the tests of the program. They are given
#   ESPALIER   the program
#   SOURCE     the root of the source tree
# Every check prints one line; `finish` prints the counts and exits. 77: skipped, there is no Vulkan device.
set -u
: "${ESPALIER:?the program}" "${SOURCE:?root of the source tree}"
export LC_ALL=C
golden=$SOURCE/tests/golden
work=$(mktemp -d "${TMPDIR:-/tmp}/espalier-e2e-XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
passed=0
failed=0
skipped=0

ok() {
    passed=$((passed + 1))
    echo "ok - $1"
}

not_ok() {
    failed=$((failed + 1))
    echo "FAILED - $1"
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@"
}

skip() {
    skipped=$((skipped + 1))
    echo "skipped - $1"
}

# check NAME COMMAND...: passes if the command succeeds.
check() {
    local name=$1
    shift
    if "$@" > "$work/check.log" 2>&1; then ok "$name"; else not_ok "$name" "$*" "$(tail -n 5 "$work/check.log")"; fi
}

# run ARGUMENTS...: the program; leaves $status, $work/out and $work/err.
run() {
    timeout 900 "$ESPALIER" "$@" > "$work/out" 2> "$work/err" < /dev/null
    status=$?
    # A layer that was forced upon the program says on stdout where its messages go.
    [ -z "${VK_INSTANCE_LAYERS:-}" ] || sed -i '/^Validation Layer Info - /d' "$work/out"
    # With ESPALIER_VALIDATION=1 a message of the layer fails whatever the program was run for.
    if grep -q 'validation: ' "$work/err"; then status=99; fi
}

# must NAME ARGUMENTS...: the program succeeds.
must() {
    local name=$1
    shift
    run "$@"
    if [ $status -eq 0 ]; then ok "$name"; else not_ok "$name" "exit status $status" "$(tail -n 5 "$work/err")"; fi
}

# refuses STATUS NAME PATTERN ARGUMENTS...: the program ends with that status, one sentence on stderr that fits the
# pattern (in any case), and nothing on stdout.
refuses() {
    local want=$1 name=$2 pattern=$3
    shift 3
    run "$@"
    if [ $status -ne "$want" ]; then
        not_ok "$name" "exit status $status, $want was expected" "$(tail -n 5 "$work/err")"
    elif [ "$(wc -l < "$work/err")" -ne 1 ] || ! grep -q '^espalier' "$work/err"; then
        not_ok "$name" "one sentence was expected on stderr:" "$(cat "$work/err")"
    elif ! grep -qiE -- "$pattern" "$work/err"; then
        not_ok "$name" "\"$pattern\" was expected in:" "$(cat "$work/err")"
    elif [ -s "$work/out" ]; then
        not_ok "$name" "stdout should be empty:" "$(head -n 3 "$work/out")"
    else
        ok "$name: $(sed 's/^espalier: //' "$work/err" | cut -c1-150)"
    fi
}

need_device() {
    run devices --json
    if [ $status -ne 0 ] || ! grep -q '{' "$work/out"; then
        echo "skipped: there is no Vulkan device"
        exit 77
    fi
}

# need_python MODULE...: the first of ESPALIER_PYTHON (programs, colons between) and python3 that has them becomes $python.
need_python() {
    local modules=$*
    for python in $(tr : ' ' <<< "${ESPALIER_PYTHON-}") python3; do
        "$python" -c "import ${modules// /, }" > /dev/null 2>&1 && return
    done
    echo "skipped: no Python here has torch, ${modules// /, }"
    exit 77
}

# The value of a number in the JSON on $work/out: number KEY
number() {
    sed -n "s/^ *\"$1\": \\(-\\{0,1\\}[0-9.e+-]*\\),\\{0,1\\}\$/\\1/p" "$work/out" | head -n 1
}

# near A B BOUND: |A - B| <= BOUND
near() {
    awk -v a="$1" -v b="$2" -v bound="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= bound) }'
}

# less A B
less() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a + 0 < b + 0) }'
}

# A text that a tiny model can learn by heart, and a model with a tokenizer that has seen none of it: $work/text.txt, $work/base.
make_base() {
    for i in $(seq 60); do printf 'the cat sat on the mat. a dog ran in the fog. %d\n' $((i % 3)); done > "$work/text.txt"
    for i in $(seq 30); do printf 'one two three four five six seven eight nine ten\n'; done > "$work/other.txt"
    run train --model "$SOURCE/tests/e2e/tiny" --init random --method full --data "$work/other.txt" --context 32 \
        --steps 2 --validation-share 0 --out "$work/base"
    if [ $status -ne 0 ] || [ ! -f "$work/base/model.safetensors" ]; then
        not_ok "a model from random weights" "$(cat "$work/err")"
        finish
    fi
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ] || exit 1
    exit 0
}

# The logits of a probe, one a line. A safetensors file: the header's length in 8 bytes, the header, the tensors.
logits() {
    local header from to
    header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    IFS=, read -r from to <<< "$(tail -c +9 "$1" | head -c "$header" | sed 's/.*"logits":{[^}]*offsets":\[\([^]]*\).*/\1/')"
    od -An -v -tf4 -w4 -j $((8 + header + from)) -N $((to - from)) "$1"
}

# off ONE OTHER: the norm of the difference of two probes' logits over that of the other's.
off() {
    paste <(logits "$1") <(logits "$2") |
        awk '{ d += ($1 - $2) ^ 2; n += $2 ^ 2 } END { if (n > 0) print sqrt(d / n) }'
}
