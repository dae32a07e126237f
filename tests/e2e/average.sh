# Averages of adapters: folders that are adapters, with the values that the weights say.
. "$SOURCE/tests/e2e/lib.sh"
need_device
model=$golden/llama_lora
a=$golden/average/a b=$golden/average/b
ids="1,80,47,9;1,9,9,33"

must "half of it and half of it" average --model "$model" --adapter "$a" --adapter "$a" --out "$work/same"
must "it alone" average --model "$model" --adapter "$a" --weights 1 --out "$work/once"
check "is it" cmp "$work/same/adapter_model.safetensors" "$work/once/adapter_model.safetensors"

# What LoRAs add: all ranks of both, or as many by svd. Either does what both in the base do.
must "both" merge --model "$model" --adapter "$a" --adapter "$b" --out "$work/both"
must "both: probe" probe --model "$work/both" --ids "$ids" --out "$work/both.probe"
must "one: probe" probe --model "$model" --adapter "$a" --ids "$ids" --out "$work/one.probe"
check "the other one matters" less 1e-3 "$(off "$work/one.probe" "$work/both.probe")"
for mode in cat svd; do
    rank=$([ $mode = svd ] && echo "--rank 5")
    must "$mode" average --model "$model" --adapter "$a" --adapter "$b" --weights 1,1 --mode $mode $rank --out "$work/$mode" --json
    check "$mode: names what was written" grep -q '"parameters": [1-9]' "$work/out"
    must "$mode: probe" probe --model "$model" --adapter "$work/$mode" --ids "$ids" --out "$work/$mode.probe"
    check "$mode: says what both say" near "$(off "$work/$mode.probe" "$work/both.probe")" 0 2e-6
done
# Shares of the values. With all of them dare_linear is roots; a seed is what a run depends on.
c=$golden/average/c d=$golden/average/d
combine() { # NAME FLAGS...
    must "$*" average --model "$model" --adapter "$a" --adapter "$c" --adapter "$d" --weights 1,1,0.5 --out "$work/$1" "${@:2}"
}
equal() { cmp -s "$work/$1/adapter_model.safetensors" "$work/$2/adapter_model.safetensors"; }
differ() {
    equal "$@"
    [ $? -eq 1 ] # 2: one is missing
}
combine roots --mode roots
combine all --mode dare_linear --density 1 --seed 5
check "all values" equal all roots
for mode in ties dare_linear dare_ties magnitude_prune ties_svd dare_linear_svd dare_ties_svd magnitude_prune_svd; do
    combine $mode --mode $mode --density 0.5
    combine ${mode}_again --mode $mode --density 0.5
    combine ${mode}_other --mode $mode --density 0.5 --seed 1
    check "$mode: again" equal $mode ${mode}_again
    case $mode in
    dare*) check "$mode: another seed" differ $mode ${mode}_other ;;
    *) check "$mode: draws nothing" equal $mode ${mode}_other ;;
    esac
    check "$mode: not roots" differ $mode roots
done
combine ties_most --mode ties --density 0.5 --majority-sign frequency
check "another election" differ ties ties_most
refuses 1 "unequal ranks" '"[^"]*" has rank 2, "[^"]*" has rank 3: ties needs equal ones' average --model "$model" --adapter "$a" \
    --adapter "$b" --mode ties --density 0.5 --out "$work/unequal"
refuses 1 "a folder that is not empty" 'is not empty; --force' average --model "$model" --adapter "$a" --out "$work/cat"
must "with --force" average --model "$model" --adapter "$a" --out "$work/cat" --force
refuses 1 "other methods" "they cannot be averaged" average --model "$model" --adapter "$a" --adapter "$golden/ia3_llama/adapter" --out "$work/mixed"
finish
