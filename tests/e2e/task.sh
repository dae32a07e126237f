# From rows with labels to a head with an adapter: metrics after each epoch, the best one kept, the same figures by eval,
# early stopping, resuming, and a table of several methods that goes on where it was interrupted.
. "$SOURCE/tests/e2e/lib.sh"
need_device

# A BERT of two small blocks with random weights, and a vocabulary for the few words below.
mkdir "$work/bert"
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' the a cat dog bird sleeps runs sings red blue big '##s' . > "$work/bert/vocab.txt"
cat > "$work/bert/config.json" <<'END'
{"architectures": ["BertModel"], "model_type": "bert", "vocab_size": 18, "hidden_size": 16, "num_hidden_layers": 2,
 "num_attention_heads": 2, "intermediate_size": 32, "hidden_act": "gelu", "max_position_embeddings": 24,
 "type_vocab_size": 2, "layer_norm_eps": 1e-12, "initializer_range": 0.5, "pad_token_id": 0,
 "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
END
# What is learnt: whether the text is about a cat.
for adjective in red blue big; do
    for verb in sleeps runs sings; do
        printf 'the %s cat %s .\tyes\nthe %s dog %s .\tno\n' $adjective $verb $adjective $verb
    done
done > "$work/rows"
{ printf 'text\tlabel\n'; cat "$work/rows"; } > "$work/train.tsv"
{ printf 'text\tlabel\n'; printf 'a %s cat\tyes\na %s dog\tno\n' red red blue blue; } > "$work/valid.tsv"
base=(--model "$work/bert" --task classification --context 12)

run train "${base[@]}" --init random --method full --data "$work/train.tsv" --epochs 0.01 --out "$work/random"
check "a model from random weights, with its head" test $status -eq 0 -a -f "$work/random/model.safetensors"
base=(--model "$work/random" --task classification)
rows=("${base[@]}" --context 12 --data "$work/train.tsv" --valid "$work/valid.tsv" --batch 6)
learn=("${rows[@]}" --lr 1e-2 --method lora:r=4,targets=all-linear)

must "train" train "${learn[@]}" --epochs 12 --out "$work/adapter" --json
check "a validation after each of 12 epochs of 3 steps" \
    test "$(grep -c '"validation_loss".*"accuracy".*"f1_macro"' "$work/adapter/metrics.jsonl")" -eq 12
check "all of the validation is right at the end" near "$(number accuracy)" 1 0
check "the share that is trained" less "$(number trained_share)" 1
best=$(sed -n '/"best"/,/}/p' "$work/out" | sed -n 's/.*"validation_loss": \([0-9.e+-]*\).*/\1/p')
for file in adapter_config.json adapter_model.safetensors task.json; do
    check "there is best/$file" test -f "$work/adapter/best/$file"
done
check "PEFT's type of task" grep -q '"task_type": "SEQ_CLS"' "$work/adapter/best/adapter_config.json"
must "eval" eval "${base[@]}" --adapter "$work/adapter/best" --data "$work/valid.tsv" --json
check "eval has the loss of the best validation ($best, $(number loss))" near "$best" "$(number loss)" 1e-6
check "and its accuracy" near "$(number accuracy)" 1 0
must "eval in rows of three" eval "${base[@]}" --adapter "$work/adapter/best" --data "$work/valid.tsv" --batch 3 --json
check "the batch changes nothing" near "$best" "$(number loss)" 1e-5

must "stop early" train "${learn[@]}" --epochs 400 --patience 2 --out "$work/early" --json
check "it says so" grep -q '"stopped_early": true' "$work/out"
check "long before the end" less "$(number steps)" 600
validations=$(grep -c validation_loss "$work/early/metrics.jsonl")
first=$(sed -n 's/.*"accuracy":\([0-9.]*\).*/\1/p' "$work/early/metrics.jsonl" | awk 'NR == 1 || $1 > most { most = $1; at = NR } END { print at }')
check "two validations after the best one, $first" test "$validations" -eq $((first + 2))

# A method of the Adapters library: the head is beside the adapter in that library's files.
must "train a bottleneck" train "${rows[@]}" --lr 2e-2 --method houlsby:rf=1 --epochs 20 --out "$work/bottleneck" --json
best=$(sed -n '/"best"/,/}/p' "$work/out" | sed -n 's/.*"validation_loss": \([0-9.e+-]*\).*/\1/p')
for file in adapter_config.json adapter.safetensors head_config.json model_head.safetensors task.json; do
    check "there is best/$file" test -f "$work/bottleneck/best/$file"
done
check "its class" grep -q '"model_class": "BertForSequenceClassification"' "$work/bottleneck/best/head_config.json"
must "eval of it" eval "${base[@]}" --adapter "$work/bottleneck/best" --data "$work/valid.tsv" --json
check "eval has the loss of the best validation ($best, $(number loss))" near "$best" "$(number loss)" 1e-6
check "and learnt what is asked" near "$(number accuracy)" 1 0
# Without its lowest block it gives something else.
must "eval without the lowest block" eval "${base[@]}" --adapter "$work/bottleneck/best" --data "$work/valid.tsv" --drop 1 --json
check "another loss" less 1e-4 "$(awk -v a="$best" -v b="$(number loss)" 'BEGIN { print a < b ? b - a : a - b }')"
refuses 1 "more blocks than there are" '3 blocks cannot be dropped: the model has 2' eval "${base[@]}" --adapter "$work/bottleneck/best" \
    --data "$work/valid.tsv" --drop 3
refuses 1 "a rank of what has one" 'which has one rank' eval "${base[@]}" --adapter "$work/bottleneck/best" --data "$work/valid.tsv" --rank 1

# AdapterFusion of that and another one: both stay as they are.
must "a second bottleneck" train "${rows[@]}" --lr 1e-2 --method pfeiffer:rf=2 --epochs 4 --out "$work/second"
fused=(--adapter "first=$work/bottleneck/best" --adapter "second=$work/second/best")
must "fuse them" train "${rows[@]}" --lr 1e-2 "${fused[@]}" --method fusion:of=first+second --epochs 24 --out "$work/fused" --json
best=$(sed -n '/"best"/,/}/p' "$work/out" | sed -n 's/.*"validation_loss": \([0-9.e+-]*\).*/\1/p')
for file in adapter_fusion_config.json model_adapter_fusion.safetensors head_config.json model_head.safetensors task.json; do
    check "there is best/$file" test -f "$work/fused/best/$file"
done
must "eval of the fusion" eval "${base[@]}" "${fused[@]}" --adapter "$work/fused/best" --data "$work/valid.tsv" --json
check "eval has the loss of the best validation ($best, $(number loss))" near "$best" "$(number loss)" 1e-6
check "and learnt what is asked" near "$(number accuracy)" 1 0
must "train it further" train "${rows[@]}" --lr 1e-3 "${fused[@]}" --adapter "$work/fused/best" --epochs 1 --out "$work/further"
check "it is a fusion still" test -f "$work/further/adapter_fusion_config.json"
refuses 1 "a fusion without what it fuses" 'has no adapter "first"' eval "${base[@]}" --adapter "$work/fused/best" --data "$work/valid.tsv"
refuses 2 "a method beside a saved adapter" 'but for fusion' train "${rows[@]}" --adapter "$work/second/best" --method lora --out "$work/x"
sed -i 's/"num_labels": 2/"num_labels": 3/' "$work/bottleneck/best/head_config.json"
refuses 1 "a head of other labels" 'the head has 3 labels, the model.s has 2' eval "${base[@]}" --adapter "$work/bottleneck/best" \
    --data "$work/valid.tsv"

# What is best is chosen among adapters of the size of the result.
must "diff pruning" train "${rows[@]}" --lr 1e-3 --method diff_pruning:share=0.1,prune_at=0.6 --epochs 4 --out "$work/pruned"
check "its best is pruned" grep -q '\.idx"' "$work/pruned/best/adapter_model.safetensors"
check "validations before say so" test "$(grep -c '"settled":false' "$work/pruned/metrics.jsonl")" -eq 2
must "adalora that is cut short" train "${rows[@]}" --method adalora:total=100 --steps 2 --out "$work/short"
check "a warning" grep -q 'ended before the method' "$work/err"

# A base that has no head: the adapter's is merged, averaged and converted with it, and evaluated as it was trained.
cp -r "$work/random" "$work/bare"
sed -i 's/classifier\.\(weight\|bias\)/classifierX\1/g' "$work/bare/model.safetensors"
sed -i 's/BertForSequenceClassification/BertModel/' "$work/bare/config.json"
bare=(--task classification --data "$work/valid.tsv" --json)
must "train a head and an adapter" train --model "$work/bare" --task classification --data "$work/train.tsv" \
    --valid "$work/valid.tsv" --batch 6 --context 12 --epochs 2 --lr 1e-2 --method lora:r=2 --out "$work/headed"
check "the head is new" grep -q 'lack classifier.bias, classifier.weight\|lack classifier.weight, classifier.bias' "$work/err"
must "eval of it" eval --model "$work/bare" --adapter "$work/headed" "${bare[@]}"
headed=$(number loss)
must "merge it" merge --model "$work/bare" --adapter "$work/headed" --out "$work/merged"
must "eval of the merged model" eval --model "$work/merged" "${bare[@]}"
check "the same loss ($headed, $(number loss))" near "$headed" "$(number loss)" 1e-5
for made in "average --adapter $work/headed" "convert --to peft"; do
    name=${made%% *}
    must "$name it" "$name" --model "$work/bare" --adapter "$work/headed" ${made#* } --out "$work/$name"
    must "$name: eval" eval --model "$work/bare" --adapter "$work/$name" "${bare[@]}"
    check "$name: the same loss" near "$headed" "$(number loss)" 1e-6
done
refuses 1 "another task's adapter in eval" 'trained for the task classification, not for rte' eval --model "$work/bare" \
    --adapter "$work/average" --task rte --data "$work/valid.tsv"

# A decoder whose tied matrix has the head's name in the file, with another head.
cp -r "$golden/llama_tied_rope_scaling" "$work/tied"
chmod u+w "$work/tied/model.safetensors"
sed -i 's/"model.embed_tokens.weight"/"lm_head.weight"           /' "$work/tied/model.safetensors"
for task in "language" "classes --label-count 3 --labels 1"; do
    must "tied under the head's name: ${task%% *}" probe --model "$work/tied" --task $task --ids 1,2,3 --out "$work/tied.probe"
done

# Pairs, numbers, tags.
{ printf 'text\tpair\tscore\n'; printf 'the cat\ta cat\t1\nthe cat\ta dog\t-1\nred\tred\t1\nred\tblue\t-0.5\n'; } > "$work/pairs.tsv"
must "regression of pairs" train --model "$work/bert" --init random --method full --task regression --context 12 \
    --columns text=text,pair=pair,label=score --data "$work/pairs.tsv" --valid "$work/pairs.tsv" --epochs 2 --batch 2 \
    --out "$work/pairs"
check "its metrics" grep -q '"pearson".*"spearman"' "$work/pairs/metrics.jsonl"
must "eval of a whole model" eval --model "$work/pairs/best" --task regression --context 12 \
    --columns text=text,pair=pair,label=score --data "$work/pairs.tsv" --json
check "Pearson" test -n "$(number pearson)"
printf 'the O\ncats B-ANIMAL\nruns O\n\na O\ndog B-ANIMAL\nsleeps O\n\n' > "$work/tags.conll"
must "tagging" train --model "$work/bert" --init random --method full --task tagging --context 12 --lr 2e-2 \
    --data "$work/tags.conll" --valid "$work/tags.conll" --epochs 12 --batch 2 --out "$work/tags" --json
check "entities are found" near "$(number entity_f1)" 1 0
must "eval of tags, labels from the model" eval --model "$work/tags" --task tagging --data "$work/tags.conll" --json
check "six words in two rows" near "$(number count)" 6 0

# Sentences.
refuses 1 "no such task" 'no task "colour"; tasks are cola' train --model "$work/random" --task colour --data x --out "$work/no"
printf 'mr,ref\n"name[The Cat]",The Cat.\n' > "$work/e2e.csv"
refuses 1 "generation by an encoder" 'bert model has no head for the next token' train --model "$work/random" --task e2e \
    --data "$work/e2e.csv" --out "$work/no"
printf 'text\tlabel\nthe cat\tmaybe\n' > "$work/maybe.tsv"
refuses 1 "a label that training has not" 'maybe.tsv:2: label "maybe" is none of no, yes' train "${base[@]}" \
    --data "$work/train.tsv" --valid "$work/maybe.tsv" --out "$work/no"
refuses 2 "patience without a validation" 'need --valid' train "${base[@]}" --data "$work/train.tsv" --patience 2 --out "$work/no"
refuses 1 "another task's adapter" 'trained for the task classification, not for cola' eval --model "$work/random" \
    --adapter "$work/adapter" --task cola --data "$work/valid.tsv"

# A table. A cell that is finished is not run again.
sweep=(sweep "${rows[@]}" --methods "head;lora:r=2" --lrs 1e-2,2e-2 --epochs-list 1 --out "$work/sweep")
must "sweep" "${sweep[@]}" --table markdown
check "a rule and four rows" test "$(grep -c '^|' "$work/out")" -eq 6
check "share and metrics in its head" grep -q 'share %.*accuracy.*f1_macro' "$work/out"
cp "$work/out" "$work/table"
rm "$work/sweep/lora_r=2,lr=2e-2,epochs=1/result.json"
must "sweep again" "${sweep[@]}" --table markdown
check "one cell was run" test "$(grep -c '^cell' "$work/err")" -eq 1
check "the same scores" test "$(cut -d'|' -f2-9 "$work/table")" = "$(cut -d'|' -f2-9 "$work/out")"
must "as CSV" "${sweep[@]}" --table csv
check "five lines" test "$(wc -l < "$work/out")" -eq 5
# CoLA's first metric comes behind its second in the alphabet.
sed 's/no$/0/; s/yes$/1/' "$work/train.tsv" > "$work/cola.tsv"
cola=(sweep --model "$work/random" --task cola --columns text=text,label=label --data "$work/cola.tsv"
    --valid "$work/cola.tsv" --batch 6 --methods head --out "$work/cola" --table csv)
must "sweep of CoLA" "${cola[@]}"
check "its goal is the first metric" grep -q '^method,lr,epochs,trained,share %,matthews,accuracy,step,seconds$' "$work/out"
cp "$work/out" "$work/table"
must "read back" "${cola[@]}"
check "the same table" cmp "$work/table" "$work/out"
run sweep --model "$work/random" --task colour --data x --valid x --methods head --out "$work/no"
check "no such task, in every cell" grep -q 'no task "colour"' "$work/err"
check "which fails in a table" test $status -eq 1 -a "$(tail -n 1 "$work/out" | grep -c failed)" -eq 1
marks=(sweep --model "$work/random" --task colour --data x --valid x --methods 'lora|head;{"r":2}' --out "$work/marks")
run "${marks[@]}" --table markdown
check "a bar within a cell" grep -qF '| lora\|head |' "$work/out"
check "lines of one length" test "$(awk '{ print length }' "$work/out" | sort -u | wc -l)" -eq 1
run "${marks[@]}" --table csv
check "quotes within a cell" grep -qF '"{""r"":2}",' "$work/out"
refuses 1 "another batch in that folder" 'holds a sweep with another --batch' "${sweep[@]}" --batch 5
refuses 2 "a rate that is none" 'lrs takes numbers' "${sweep[@]}" --lrs fast
finish
