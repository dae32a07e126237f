# Compositions: several adapters at once, each row or text with its own, one trained behind another, a whole folder of them.
. "$SOURCE/tests/e2e/lib.sh"
need_device
model=$golden/llama_lora
ids="1,80,47,9;1,9,9,33;1,80,47,9"
a=$golden/composition_nested/a b=$golden/composition_nested/b
two=(--model "$model" --adapter "a=$a" --adapter "b=$b")

must "a" probe --model "$model" --adapter "a=$a" --ids "$ids" --out "$work/a"
must "b" probe --model "$model" --adapter "b=$b" --ids "$ids" --out "$work/b"
must "one after the other" probe "${two[@]}" --compose "a+b" --ids "$ids" --out "$work/list"
must "the same by an expression" probe "${two[@]}" --compose "stack(a,b)" --ids "$ids" --out "$work/stack"
check "is the same" near "$(off "$work/stack" "$work/list")" 0 1e-7
must "an average of one" probe "${two[@]}" --compose "average(a,a)" --ids "$ids" --out "$work/average"
check "is that one" near "$(off "$work/average" "$work/a")" 0 2e-6
check "and not the other" less 1e-3 "$(off "$work/average" "$work/b")"
must "rows by tasks" probe "${two[@]}" --compose "multitask(a,b)" --tasks "1;1;1" --ids "$ids" --out "$work/tasks"
check "have the adapter of theirs" near "$(off "$work/tasks" "$work/b")" 0 2e-6
must "rows by place" probe "${two[@]}" --compose "batchsplit(a:3,b:0)" --ids "$ids" --out "$work/split"
check "have that of their place" near "$(off "$work/split" "$work/a")" 0 2e-6

# The text is the adapter's whose name the task is.
base=$SOURCE/tools/base
text=(--model "$base" --context 8 --validation-share 0)
printf 'Once upon a time there was a cat.\n' > "$work/cat.txt"
printf 'No dog was ever so blue as this one is.\n' > "$work/dog.txt"
for name in cat dog; do
    must "train $name" train "${text[@]}" --data "$work/$name.txt" --steps 20 --lr 3e-2 --method houlsby:rf=2 --out "$work/$name"
    must "$name writes" generate --model "$base" --adapter "$work/$name" --prompt "Once" --max-tokens 12 --ignore-end
    cp "$work/out" "$work/$name.out"
done
check "each writes its own" test "$(cat "$work/cat.out")" != "$(cat "$work/dog.out")"
for name in cat dog; do
    must "$name writes by its name" generate --model "$base" --adapter "cat=$work/cat" --adapter "dog=$work/dog" \
        --compose "multitask(cat,dog)" --adapter-task "$name" --prompt "Once" --max-tokens 12 --ignore-end
    check "the same" cmp "$work/$name.out" "$work/out"
done

# One is trained behind another, which stays as it is (Pfeiffer et al. 2020, MAD-X).
cp -r "$work/cat" "$work/before"
must "train behind another" train "${text[@]}" --data "$work/dog.txt" --steps 5 --adapter "cat=$work/cat" \
    --method pfeiffer:rf=4 --compose "stack(cat,adapter)" --out "$work/behind"
check "the other one is as it was" cmp "$work/before/adapter.safetensors" "$work/cat/adapter.safetensors"
check "what was trained is alone in its folder" grep -q '"mh_adapter": false' "$work/behind/adapter_config.json"

# Several are trained together: embeddings of other tokens beside an adapter (Poth et al. 2023), each in a folder of its own.
mkdir "$work/words"
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' once upon a time there was cat . no dog ever so blue as this one is > "$work/words/vocab.txt"
must "train with other words" train "${text[@]}" --data "$work/cat.txt" --steps 20 --lr 3e-2 --method houlsby:rf=2 \
    --also "words=embeddings:tokenizer=$work/words" --out "$work/both"
check "their tokenizer is with them" cmp "$work/words/vocab.txt" "$work/both/words/tokenizer/vocab.txt"
must "write in these" generate --model "$base" --adapter "$work/both" --adapter "words=$work/both/words" --prompt "once" --max-tokens 8 --ignore-end
check "words of these alone" test -z "$(tr -s ' ' '\n' < "$work/out" | grep -vxF -f "$work/words/vocab.txt")"
must "go on" train "${text[@]}" --data "$work/cat.txt" --steps 2 --adapter "$work/both" --also "words=$work/both/words" --out "$work/further"
check "both have moved on" test "$(cksum < "$work/both/words/embedding.pt")" != "$(cksum < "$work/further/words/embedding.pt")"
must "what embeddings are" inspect "$work/both/words"
check "their tokens" grep -q "^tokenizer tokens  *22$" "$work/out"
refuses 2 "no name" "is not NAME=DIR or NAME=SPEC" train "${text[@]}" --data "$work/cat.txt" --also embeddings --out "$work/x"
refuses 2 "a name that the folder has" "is a folder of the run's own" train "${text[@]}" --data "$work/cat.txt" --also best=embeddings --out "$work/x"
refuses 2 "also beside a setup" "says itself which adapters take part" train "${text[@]}" --data "$work/cat.txt" \
    --adapter "$golden/composition_nested" --also w=embeddings --out "$work/x"
refuses 2 "share with full" "--also and --share are about adapters" train "${text[@]}" --data "$work/cat.txt" --method full --share a+b --out "$work/x"
refuses 2 "also with full" "--also and --share are about adapters" train "${text[@]}" --data "$work/cat.txt" --method full --also "w=embeddings" --out "$work/x"

# Tasks that share tensors (Yang et al. 2024): each row trains its task's adapter, all of them A and B.
printf '{"text": "Once upon a time.", "task": "adapter"}\n{"text": "No dog was ever so blue.", "task": "other"}\n' > "$work/tasks.jsonl"
must "train tasks together" train --model "$base" --context 48 --validation-share 0 --data "$work/tasks.jsonl" --batch 2 --steps 4 --lr 3e-2 --method mtl_lora:r=3,up=2 \
    --also other=mtl_lora:r=3,up=2 --share adapter+other --compose "multitask(adapter,other)" --out "$work/mtl"
for part in . other; do
    must "what $part has" inspect "$work/mtl/$part"
    check "values of its own" grep -q "task_specific.values" "$work/out"
done
refuses 1 "another method" "lora has no tensors that several adapters have together" train "${text[@]}" --data "$work/cat.txt" --method lora \
    --also other=lora --share adapter+other --out "$work/x"

# The Adapters library's folder of a composition.
must "a folder of a composition" probe --model "$model" --adapter "$golden/composition_nested" --ids "1,80;1,9" --out "$work/setup" --json
must "what it is" inspect "$golden/composition_nested"
check "its blocks" grep -q '^adapter_setup .*"BatchSplit"' "$work/out"
refuses 2 "says how itself" "says itself how its adapters take part" probe --model "$model" --adapter "$golden/composition_nested" --compose "a" \
    --ids "1,80;1,9" --out "$work/setup"
refuses 1 "an expression that ends early" "is missing at its character 8" probe "${two[@]}" --compose "stack(a" --ids "$ids" --out "$work/x"
refuses 1 "a part for rows that are not there" "the parts are 5 sequences of a batch, there are 3" probe "${two[@]}" --compose "batchsplit(a:2,b:3)" \
    --ids "$ids" --out "$work/x"
refuses 2 "full" "method full has none" train "${text[@]}" --data "$work/cat.txt" --method full --compose "a" --out "$work/x"
finish
