# PEFT itself loads the adapters that we save, and computes the same logits. Skipped where Python has no peft.
. "$SOURCE/tests/e2e/lib.sh"
need_device
if ! python3 -c 'import peft, transformers' > /dev/null 2>&1; then
    echo "skipped: Python with torch, transformers and peft is not here"
    exit 77
fi
check_peft=$SOURCE/tools/golden/check_peft.py
base=$SOURCE/tools/base

must "train on the bundled model" train --model "$base" --data "$base/style.txt" --context 64 --steps 5 --lr 1e-2 \
    --method lora:r=4,alpha=8,targets=q_proj+down_proj,rslora,save=lm_head --out "$work/adapter"
must "probe" probe --model "$base" --adapter "$work/adapter" --ids "0,80,147,200;0,5,9,11" --out "$work/probe.safetensors"
check "PEFT agrees" python3 "$check_peft" "$base" "$work/adapter" "$work/probe.safetensors"

# PEFT's own adapters, read by both: patterns, biases, modules to save, fused projections.
for name in qwen3_patterns qwen2_bias_all llama_linear_rope gpt2_lora; do
    model=$golden/$name case=$golden/$name/adapter
    must "$name: probe" probe --model "$model" --adapter "$case" --ids "1,80,14,33;7,96,2,55" --out "$work/$name"
    check "$name: PEFT agrees" python3 "$check_peft" "$model" "$case" "$work/$name"
done
finish
