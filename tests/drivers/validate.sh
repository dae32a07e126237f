#!/usr/bin/env bash
# validate.sh BUILD RESULTS TEST [instrumented]: runs one test of ctest with the validation layer forced upon it from
# outside, under the settings of vk_layer_settings.txt. Messages go to RESULTS/TEST.messages, what the test says to
# RESULTS/TEST.log. Prints one line; status 1 if the test fails or the layer says anything, 77 if the test was skipped.
# instrumented: shaders are watched, too.
# TEST "layer": only whether the layer is there and does what the settings ask for.
set -u
build=$1 test=$3 instrumented=${4:-} here=$(cd "$(dirname "$0")" && pwd)
out=$2/${test//\//.}
settings=$(mktemp -d "${TMPDIR:-/tmp}/espalier-validate-XXXXXX")
trap 'rm -rf "$settings"' EXIT
# A pipe: the layer opens the file anew for each instance and cuts what is there; a test has many.
mkfifo "$settings/messages"
change=()
[ -z "$instrumented" ] || change+=(-e 's/^\(khronos_validation.enables.*\)/\1,VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT/'
    -e 's/^khronos_validation.validate_sync.*/&\nkhronos_validation.gpuav_enable = true/')
[ "$test" != layer ] || change+=(-e 's/^\(khronos_validation.report_flags.*\)/\1,info/')
sed "${change[@]}" -e "\$a khronos_validation.log_filename = $settings/messages" "$here/vk_layer_settings.txt" \
    > "$settings/vk_layer_settings.txt"
watched=(env VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH="$settings")

cat "$settings/messages" > "$out.messages" &
exec 7> "$settings/messages" # the pipe ends when this and all of the test's are closed
status=0
if [ "$test" = layer ]; then
    "${watched[@]}" "$build/bin/espalier" devices > "$out.log" 2>&1 7>&- < /dev/null
    [ -z "$instrumented" ] || "${watched[@]}" "$build/tests/drivers/beyond" > "$out.log" 2>&1 7>&- < /dev/null || status=1
else
    "${watched[@]}" ctest --test-dir "$build" -R "^$test\$" --output-on-failure --test-output-size-passed 100000 \
        > "$out.log" 2>&1 7>&- < /dev/null || status=1
fi
exec 7>&-
wait

if [ "$test" = layer ]; then # 1.3 and 1.4 say it in different words
    grep -qi 'synchronization' "$out.messages" || { echo "no validation layer with synchronisation checks" && exit 1; }
    [ -z "$instrumented" ] || { [ $status -eq 0 ] && grep -qi 'out of bounds' "$out.messages"; } ||
        { echo "this validation layer does not see a kernel that writes beyond its binding" && exit 1; }
    exit 0
fi
messages=$(grep -c 'MessageID = ' "$out.messages")
[ "$messages" -gt 0 ] || [ ! -s "$out.messages" ] || messages=some
if [ "$messages" != 0 ]; then
    echo "FAILED $test: $messages messages"
    grep -oE '\[ [A-Za-z0-9_-]{8,} \]' "$out.messages" | sort | uniq -c | sort -rn | head -n 5
    exit 1
fi
[ $status -eq 0 ] || { echo "FAILED $test, without a message of the layer" && exit 1; }
! grep -q '\*\*\*Skipped' "$out.log" || { echo "skipped $test" && exit 77; }
echo "passed $test $(sed -n 's/.*Passed *\([0-9.]* sec\).*/\1/p' "$out.log")"
