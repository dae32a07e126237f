# Data to text: sources and references to an adapter, BLEU of what the model writes after each epoch, the best kept, the same
# figures by eval, early stopping, and the same with rows before the text.
. "$SOURCE/tests/e2e/lib.sh"
need_device
base=(--model "$SOURCE/tools/base" --task e2e)

# Two references for each meaning; two meanings are held out.
meanings() { # NAME FOOD PRICE
    printf '"name[The %s], food[%s], priceRange[%s]",The %s sells %s at a %s price.\n' "$@" "$@"
    printf '"name[The %s], food[%s], priceRange[%s]","For a %s price, The %s sells %s."\n' "$1" "$2" "$3" "$3" "$1" "$2"
}
echo mr,ref | tee "$work/train.csv" > "$work/valid.csv"
for name in Cat Dog Bird Fox; do
    for food in fish bread cake; do
        for price in cheap high; do
            case $name$food$price in Dogcakecheap | Foxfishhigh) file=valid ;; *) file=train ;; esac
            meanings $name $food $price >> "$work/$file.csv"
        done
    done
done
head -n 5 "$work/train.csv" > "$work/few.csv"
rows=("${base[@]}" --context 64 --valid "$work/valid.csv" --batch 4)
learn=("${rows[@]}" --lr 5e-3 --method lora:r=8,alpha=16,targets=all-linear)
figure() { sed -n "/\"best\"/,/}/s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" "$work/out"; }

must "eval of the base" eval "${base[@]}" --data "$work/valid.csv" --context 64 --json
check "which has not learnt it" less "$(number bleu)" 10
must "train" train "${learn[@]}" --data "$work/train.csv" --epochs 3 --out "$work/lora" --json
check "a validation after each of 3 epochs" test "$(grep -c '"validation_loss".*"bleu".*"perplexity"' "$work/lora/metrics.jsonl")" -eq 3
best=$(figure bleu) loss=$(figure validation_loss)
check "most words are right ($best)" less 30 "$best"
check "no later validation is better" test "$best" = "$(sed -n 's/.*"bleu":\([0-9.]*\).*/\1/p' "$work/lora/metrics.jsonl" | sort -g | tail -n 1)"
must "eval" eval "${base[@]}" --adapter "$work/lora/best" --data "$work/valid.csv" --json
check "it has the best validation's BLEU ($best, $(number bleu))" near "$best" "$(number bleu)" 1e-6
check "and its loss ($loss, $(number loss))" near "$loss" "$(number loss)" 1e-6
check "two sources" near "$(number rows)" 2 0
check "PEFT's type of task" grep -q '"task_type": "CAUSAL_LM"' "$work/lora/best/adapter_config.json"

must "stop early" train "${learn[@]}" --data "$work/few.csv" --epochs 100 --patience 1 --out "$work/early" --json
check "it says so" grep -q '"stopped_early": true' "$work/out"

must "a prefix" train "${rows[@]}" --data "$work/few.csv" --lr 3e-2 --method prefix:tokens=4 --epochs 1 --out "$work/prefix" --json
best=$(figure bleu)
must "eval with it" eval "${base[@]}" --adapter "$work/prefix/best" --data "$work/valid.csv" --json
check "the same BLEU ($best, $(number bleu))" near "$best" "$(number bleu)" 1e-6

# Triples of subject, relation, object instead of an attribute list.
triples() { # NAME FOOD
    printf '{"triples": [["The %s", "FOOD", "%s"]], "refs": ["The %s sells %s.", "They have %s at The %s."]}\n' "$1" "$2" "$1" "$2" "$2" "$1"
}
for name in Cat Dog Bird Fox Hen; do triples $name bread; triples $name cake; done > "$work/triples.jsonl"
tail -n 2 "$work/triples.jsonl" > "$work/valid.jsonl"
sed -i "9,10d" "$work/triples.jsonl"
for task in dart webnlg; do
    of=(--model "$SOURCE/tools/base" --task $task)
    must "train on $task" train "${of[@]}" --data "$work/triples.jsonl" --valid "$work/valid.jsonl" --context 64 --batch 2 --lr 1e-2 --epochs 5 \
        --method lora:r=8,alpha=16,targets=all-linear --out "$work/$task" --json
    best=$(figure bleu)
    check "BLEU of what it writes ($best)" less 10 "$best"
    must "eval on $task" eval "${of[@]}" --adapter "$work/$task/best" --data "$work/valid.jsonl" --json
    check "the same BLEU ($best, $(number bleu))" near "$best" "$(number bleu)" 1e-6
    check "rows are sources" near "$(number rows)" 2 0
done

refuses 1 "a file of other columns" 'train.tsv' train "${base[@]}" --data "$work/train.tsv" --out "$work/no"
finish
