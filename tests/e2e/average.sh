# Averages of adapters: folders that are adapters, with the values that the weights say.
. "$SOURCE/tests/e2e/lib.sh"
need_device
model=$golden/llama_lora
a=$golden/average/a b=$golden/average/b
ids="1,80,47,9;1,9,9,33"

must "half of it and half of it" average --model "$model" --adapter "$a" --adapter "$a" --out "$work/same"
must "it alone" average --model "$model" --adapter "$a" --weights 1 --out "$work/once"
check "is it" cmp "$work/same/adapter_model.safetensors" "$work/once/adapter_model.safetensors"

# What LoRAs add: all ranks of both, or as many by svd.
for mode in cat svd; do
    rank=$([ $mode = svd ] && echo "--rank 5")
    must "$mode" average --model "$model" --adapter "$a" --adapter "$b" --weights 1,1 --mode $mode $rank --out "$work/$mode" --json
    check "$mode: names what was written" grep -q '"parameters": [1-9]' "$work/out"
    must "$mode: probe" probe --model "$model" --adapter "$work/$mode" --ids "$ids" --out "$work/$mode.probe"
done
refuses 1 "a folder that is not empty" 'is not empty; --force' average --model "$model" --adapter "$a" --out "$work/cat"
must "with --force" average --model "$model" --adapter "$a" --out "$work/cat" --force
refuses 1 "other methods" "they cannot be averaged" average --model "$model" --adapter "$a" --adapter "$golden/ia3_llama/adapter" --out "$work/mixed"
finish
