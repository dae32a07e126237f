#!/usr/bin/env bash
# kernels.sh BUILD OUT: has the device at hand make every kernel that the library asks it for, and writes OUT: one line
# per kernel, as kernel_layer.c says, each kernel once. Nothing needs to compute: operators are planned at all shapes of
# their tests; models, adapters, training and generation run through the program, whatever numbers come out.
# Status 1 if a program fails, with its last words.
# shellcheck disable=SC2094 # the layer writes OUT.all, not this script
set -u
build=$1 out=$2 source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/espalier-kernels-XXXXXX")
trap 'rm -rf "$work"' EXIT
export ESPL_KERNELS=$out.all VK_LAYER_PATH=$build/tests/drivers VK_INSTANCE_LAYERS=VK_LAYER_ESPALIER_kernels
export ESPL_TEST_PLAN=1 ESPL_TEST_VALIDATION=0 ESPALIER_CACHE=
rm -f "$out" "$out.all"
bad=0

must() {
    "$@" > "$work/log" 2>&1 < /dev/null && return
    echo "FAILED with status $?: ${*/#"$source/"/}"
    grep -E '\[ *(ERROR|FAILED)|^espalier' "$work/log" | tail -n 3
    bad=$((bad + 1))
    return 1
}

program=$build/bin/espalier
"$program" devices --json > /dev/null 2>&1 || { echo "there is no Vulkan device" && exit 1; }
for test in "$build"/tests/ops/test_op_*; do must "$test"; done

# Every family, head and method that has goldens; language models in every dtype, and with all weights trained.
(cd "$work" && must "$build/tests/model/test_model_golden") || bad=1
ids='1,2,3,4,5;6,7,8,9,1'
grep -lE 'CausalLM|LMHeadModel|MaskedLM' "$source"/tests/golden/*/config.json > "$work/models"
while read -r model; do
    model=${model%/config.json}
    for dtype in f32 f16 bf16; do
        must "$program" probe --model "$model" --dtype "$dtype" --ids "$ids" --labels "$ids" --out "$work/probe" \
            --method lora:r=4,alpha=8,targets=all-linear,dropout=0.1 --steps 1 --weight-decay 0.1
    done
    must "$program" probe --model "$model" --ids "$ids" --labels "$ids" --out "$work/probe" --method full --steps 1 --recompute
done < "$work/models"

# Rows as long as they are in use, and a cache that is read and written.
bundled=$source/tools/base
for mode in exact fast; do
    must "$program" train --model "$bundled" --data "$bundled/style.txt" --context 256 --batch 2 --accumulate 2 --steps 1 \
        --mode $mode --method lora:r=8,alpha=16,targets=all-linear --out "$work/$mode"
    must "$program" generate --model "$bundled" --adapter "$work/$mode" --mode $mode --max-tokens 2 \
        --prompt "Once upon a time there was a little girl who had a dog, and every day they went out."
    # Where nothing computes what is merged may be no number, which is refused once the kernels ran.
    "$program" merge --model "$bundled" --adapter "$work/$mode" --out "$work/merged-$mode" > "$work/merge" 2>&1 ||
        must grep -q 'merged, value .* would be' "$work/merge"
done

# Widths of models that people use: sums are long, matrices wide.
mkdir "$work/wide"
cat > "$work/wide/config.json" << 'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2304, "intermediate_size": 2560,
 "num_attention_heads": 18, "num_key_value_heads": 6, "num_hidden_layers": 1, "vocab_size": 512,
 "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "torch_dtype": "float32"}
END
ids=$(seq -s , 1 65)
for dtype in f32 bf16; do
    must "$program" probe --model "$work/wide" --init random --dtype "$dtype" --ids "$ids" --method lora:r=64 --out "$work/probe"
done

[ -s "$out.all" ] || { echo "no kernel was written down" && exit 1; }
sort -t "$(printf '\t')" -u -k 1,2 "$out.all" > "$out"
rm -f "$out.all"
[ $bad -eq 0 ]
