# PEFT itself loads the adapters that we save, and computes the same logits. Skipped where Python has no peft.
. "$SOURCE/tests/e2e/lib.sh"
need_device
need_python transformers peft
check_peft=$SOURCE/tools/golden/check_peft.py
base=$SOURCE/tools/base

must "train on the bundled model" train --model "$base" --data "$base/style.txt" --context 64 --steps 5 --lr 1e-2 \
    --method lora:r=4,alpha=8,targets=q_proj+down_proj,rslora,save=lm_head --out "$work/adapter"
must "probe" probe --model "$base" --adapter "$work/adapter" --ids "0,80,147,200;0,5,9,11" --out "$work/probe.safetensors"
check "PEFT agrees" "$python" "$check_peft" "$base" "$work/adapter" "$work/probe.safetensors"

# LoRA's relatives; AdaLoRA without the ranks it dropped, and a rank of a DyLoRA, which PEFT does not know, as a LoRA.
for spec in dora:r=4 vera:r=16 adalora:init_r=6,target_r=2,alpha=3 dylora:r=6,alpha=5; do
    name=${spec%%:*}
    must "$name: train" train --model "$base" --data "$base/style.txt" --context 64 --steps 5 --lr 1e-2 \
        --method "$spec" --out "$work/$name"
    if [ "$name" = dylora ]; then
        must "$name: a rank" convert --model "$base" --adapter "$work/$name" --rank 2 --to peft --out "$work/rank"
        refuses 1 "$name: a rank that is not there" 'has ranks 1 to 6, not 7' convert --model "$base" \
            --adapter "$work/$name" --rank 7 --to peft --out "$work/rank_7"
        name=rank
    fi
    must "$name: probe" probe --model "$base" --adapter "$work/$name" --ids "0,80,147,200;0,5,9,11" \
        --out "$work/$name.safetensors"
    check "$name: PEFT agrees" "$python" "$check_peft" "$base" "$work/$name" "$work/$name.safetensors"
done

# PEFT's own adapters, read by both: patterns, biases, modules to save, fused projections.
for name in qwen3_patterns qwen2_bias_all llama_linear_rope gpt2_lora; do
    model=$golden/$name case=$golden/$name/adapter
    must "$name: probe" probe --model "$model" --adapter "$case" --ids "1,80,14,33;7,96,2,55" --out "$work/$name"
    check "$name: PEFT agrees" "$python" "$check_peft" "$model" "$case" "$work/$name"
done
finish
