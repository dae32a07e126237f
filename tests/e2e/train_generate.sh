# From a text to an adapter to generated text, and the adapter merged.
. "$SOURCE/tests/e2e/lib.sh"
need_device
make_base
base=$work/base adapter=$work/adapter

must "eval of the base" eval --model "$base" --data "$work/text.txt" --context 32 --json
before=$(number perplexity)
must "train" train --model "$base" --data "$work/text.txt" --context 32 --batch 4 --steps 150 --lr 1e-2 \
    --method lora:r=8,alpha=16,targets=q_proj+k_proj+v_proj+o_proj+gate_proj+up_proj+down_proj --out "$adapter"
for line in device mode model training data memory; do
    check "it says the $line at the start" grep -q "^$line  *[^ ]" "$work/err"
done
check "it shows progress" grep -qE 'step 150/150  loss [0-9.]+  lr .* tokens/s' "$work/err"
check "perplexity on stdout" grep -q 'validation perplexity' "$work/out"
for file in adapter_config.json adapter_model.safetensors best/adapter_model.safetensors checkpoint metrics.jsonl; do
    check "there is $file" test -e "$adapter/$file"
done
check "150 lines of steps" test "$(grep -c '"grad_norm"' "$adapter/metrics.jsonl")" -eq 150
must "eval with the adapter" eval --model "$base" --adapter "$adapter" --data "$work/text.txt" --context 32 --json
after=$(number perplexity)
loss=$(number loss)
check "perplexity fell by a third ($before to $after)" less "$after" "$(awk -v b="$before" 'BEGIN { print b * 2 / 3 }')"
must "eval in rows of four" eval --model "$base" --adapter "$adapter" --data "$work/text.txt" --context 32 --batch 4 --json
check "the batch changes nothing ($loss, $(number loss))" near "$loss" "$(number loss)" 1e-5

prompt='the cat sat'
write=(generate --prompt "$prompt" --max-tokens 24)
must "generate, base" "${write[@]}" --model "$base"
cp "$work/out" "$work/base.text"
must "generate, adapter" "${write[@]}" --model "$base" --adapter "$adapter"
cp "$work/out" "$work/adapter.text"
check "the adapter changes the text" test "$(cat "$work/base.text")" != "$(cat "$work/adapter.text")"
must "generate again" "${write[@]}" --model "$base" --adapter "$adapter"
check "greedy text is the same again" cmp "$work/adapter.text" "$work/out"
must "generate with --json" "${write[@]}" --model "$base" --adapter style="$adapter" --json
check "24 tokens" test "$(number tokens)" -eq 24
check "the adapter has the name it was given" grep -q '"style"' "$work/out"
sample=("${write[@]}" --model "$base" --adapter "$adapter" --temperature 1.2 --top-k 50 --top-p 0.95 --min-p 0.01)
must "sampled" "${sample[@]}" --seed 3
cp "$work/out" "$work/seed3"
must "sampled again" "${sample[@]}" --seed 3
check "one seed, one text" cmp "$work/seed3" "$work/out"
must "another seed" "${sample[@]}" --seed 4
check "another seed, another text" test "$(cat "$work/seed3")" != "$(cat "$work/out")"
first=$(head -c 1 "$work/adapter.text")
must "stop before a text" "${write[@]}" --model "$base" --adapter "$adapter" --stop "$first"
check "nothing before the first character" test -z "$(tr -d '\n' < "$work/out")"
refuses 1 "a prompt longer than the cache" '.' generate --model "$base" --context 8 --prompt "$prompt $prompt"

llama=$golden/llama_linear_rope # its adapter has a head of its own
refuses 1 "two heads beside each other" '"a" and "b" cannot be active together: each has values of its own in place of lm_head.weight' \
    generate --model "$llama" --prompt x --adapter a="$llama/adapter" --adapter b="$llama/adapter"

# Rows before the text.
draw=("${write[@]}" --temperature 1 --seed 3)
must "sampled, base" "${draw[@]}" --model "$base"
cp "$work/out" "$work/base.drawn"
for method in prompt:tokens=4 prefix:tokens=4; do
    must "train ${method%:*}" train --model "$base" --data "$work/text.txt" --context 24 --batch 4 --steps 40 --lr 1e-1 \
        --method $method --out "$work/${method%:*}"
    must "sampled, ${method%:*}" "${draw[@]}" --model "$base" --adapter "$work/${method%:*}"
    check "it changes the text" test "$(cat "$work/base.drawn")" != "$(cat "$work/out")"
    refuses 1 "a ${method%:*} cannot be merged" 'cannot be merged' merge --model "$base" --adapter "$work/${method%:*}" \
        --out "$work/merged-${method%:*}"
done

must "merge" merge --model "$base" --adapter "$adapter" --out "$work/merged"
must "generate, merged" "${write[@]}" --model "$work/merged"
check "the merged model writes the same text" cmp "$work/adapter.text" "$work/out"
must "eval of the merged model" eval --model "$work/merged" --data "$work/text.txt" --context 32 --json
check "and has the same loss ($loss, $(number loss))" near "$loss" "$(number loss)" 1e-4
must "probe, adapter" probe --model "$golden/llama_lora" --adapter "$golden/llama_lora/adapter" --ids 1,2,3 --out "$work/p"
must "merge of a model without a tokenizer" merge --model "$golden/llama_lora" --adapter "$golden/llama_lora/adapter" \
    --out "$work/merged-golden"
must "probe, merged" probe --model "$work/merged-golden" --ids 1,2,3 --out "$work/q"

must "train an adapter further" train --model "$base" --adapter "$adapter/best" --data "$work/text.txt" --context 32 \
    --steps 3 --lr 1e-4 --out "$work/further" --json
check "loss as JSON" test -n "$(number loss)"
must "inspect the adapter" inspect "$adapter"
check "its rank" grep -qE '^r +8$' "$work/out"
must "inspect the model, JSON" inspect "$work/merged" --json
check "its kind" grep -q '"kind": "model"' "$work/out"
must "force over an old run" train --model "$base" --data "$work/text.txt" --context 32 --steps 2 --validation-share 0 \
    --out "$adapter" --force
check "the old best is gone" test ! -e "$adapter/best"
check "metrics begin anew" test "$(wc -l < "$adapter/metrics.jsonl")" -eq 2
must "bench" bench train generate --model "$base" --context 32 --repetitions 2 --json
check "two figures" test "$(grep -c '"value"' "$work/out")" -eq 2
must "bench of the start" bench ready first-token --model "$base" --context 32 --json
# shellcheck disable=SC2046 # two numbers
check "ready, then the first token" less $(sed -n 's/^ *"value": \([0-9.e+-]*\),*$/\1/p' "$work/out")
must "bench of training behind a session" bench ready train prompt frames --model "$base" --context 32 --repetitions 2 --json
check "a figure of each" test "$(grep -cE '"name": "(ready|train|prompt|frame)' "$work/out")" -ge 4
finish
