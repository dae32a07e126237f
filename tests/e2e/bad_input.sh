# Files that are broken, hostile or of another model: each ends with one sentence, no crash and nothing half-written.
. "$SOURCE/tests/e2e/lib.sh"

# ---- safetensors files alone ----

# container HEADER [DATA]: header length, header, data
container() {
    local length=${#1} i
    for i in 1 2 3 4 5 6 7 8; do
        printf "\\$(printf %03o $((length % 256)))"
        length=$((length / 256))
    done
    printf '%s%s' "$1" "${2-}"
}

inspects() {
    container "$3" "${4-}" > "$work/x.safetensors"
    refuses 1 "$1" "$2" inspect "$work/x.safetensors"
}

refuses 1 "no such file" 'x.safetensors' inspect "$work/x.safetensors"
mkdir "$work/empty-folder"
refuses 1 "a folder with nothing in it" 'config.json' inspect "$work/empty-folder"
: > "$work/x.safetensors"
refuses 1 "empty file" 'x.safetensors' inspect "$work/x.safetensors"
printf 'abc' > "$work/x.safetensors"
refuses 1 "three bytes" 'x.safetensors' inspect "$work/x.safetensors"
printf '\377\377\377\377\377\377\377\177{}' > "$work/x.safetensors"
refuses 1 "header of 2^63 bytes" 'header' inspect "$work/x.safetensors"
head -c 300 "$golden/llama_lora/model.safetensors" > "$work/x.safetensors"
refuses 1 "cut in the header" 'header' inspect "$work/x.safetensors"
head -c 100000 "$golden/llama_lora/model.safetensors" > "$work/x.safetensors"
refuses 1 "cut in the data" 'x.safetensors' inspect "$work/x.safetensors"
mkfifo "$work/pipe.safetensors"
refuses 1 "a named pipe" 'plain file' inspect "$work/pipe.safetensors"
inspects "header is not JSON" 'x.safetensors' '{"a": nonsense}'
inspects "header is an array" 'x.safetensors' '[1,2,3]'
inspects "offsets reversed" '"?a"?' '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}' abcd
inspects "offsets past the end" '"?a"?' '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' abcd
inspects "offsets beyond 64 bits" 'x.safetensors' \
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}' abcd
inspects "overlap" 'x.safetensors' \
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' abcd
inspects "hole" 'x.safetensors' '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}' abcdabcd
inspects "shape that wraps" 'x.safetensors' \
    '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
inspects "negative shape" 'x.safetensors' '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}' abcd
inspects "shape of another size" 'x.safetensors' '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}' abcd
inspects "unknown dtype" 'Q99' '{"a":{"dtype":"Q99","shape":[1],"data_offsets":[0,4]}}' abcd
inspects "one name twice" 'x.safetensors' \
    '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
deep=$(printf '[%.0s' $(seq 5000))
inspects "nesting without end" 'x.safetensors' "{\"a\":$deep"

# ---- without a Vulkan device ----

VK_ICD_FILENAMES=/nonexistent VK_DRIVER_FILES=/nonexistent \
    refuses 1 "no Vulkan device" 'vulkan' probe --model "$golden/llama_lora" --ids 1,2,3 --out "$work/p"
VK_ICD_FILENAMES=/nonexistent VK_DRIVER_FILES=/nonexistent run devices --json
[ $status -eq 0 ] && [ "$(tr -d ' \n' < "$work/out")" = "[]" ] && ok "an empty list of devices" ||
    not_ok "an empty list of devices" "exit status $status" "$(cat "$work/err")"

run devices --json
if [ $status -ne 0 ] || ! grep -q '{' "$work/out"; then
    skip "everything that needs a device"
    finish
fi
refuses 1 "no such device" 'nosuchgpu' probe --device nosuchgpu --model "$golden/llama_lora" --ids 1,2 --out "$work/p"
refuses 1 "device number past the end" '99' probe --device 99 --model "$golden/llama_lora" --ids 1,2 --out "$work/p"

# ---- model folders ----

# broken NAME PATTERN COMMANDS: runs the commands in a copy of a good model folder, then probes it
broken() {
    rm -rf "$work/model"
    cp -r "$golden/llama_lora" "$work/model"
    (cd "$work/model" && chmod u+w ./* && eval "$3")
    refuses 1 "$1" "$2" probe --model "$work/model" --ids 1,2,3,4 --out "$work/p"
    [ -e "$work/p" ] && not_ok "$1: a file was written" && rm -f "$work/p"
}
config() { sed -i "s/\"$1\": [^,]*/\"$1\": $2/" config.json; }

refuses 1 "no such folder" 'nowhere' probe --model "$work/nowhere" --ids 1,2 --out "$work/p"
broken "no config.json" 'config.json' 'rm config.json'
broken "config.json is cut" 'config.json' 'head -c 100 config.json > c; mv c config.json'
broken "config.json is an array" 'config.json' 'echo "[]" > config.json'
broken "config.json is empty" 'config.json' ': > config.json'
broken "unknown model_type" 'frobnicator' 'config model_type "\"frobnicator\""'
broken "no model_type" 'model_type' 'sed -i /model_type/d config.json'
broken "width is a string" 'hidden_size' 'config hidden_size "\"wide\""'
broken "width of zero" 'hidden_size' 'config hidden_size 0'
broken "no heads" 'num_attention_heads' 'config num_attention_heads 0'
broken "heads that do not divide" 'head' 'config num_key_value_heads 4'
broken "negative vocabulary" 'vocab_size' 'config vocab_size -5'
broken "width of four billion" 'head size' 'config hidden_size 4000000000'
broken "blocks without end" 'layers' 'config num_hidden_layers 3000000000'
broken "one block more than there is" 'layers.2' 'config num_hidden_layers 3'
broken "another width" 'weight' 'config hidden_size 96'
broken "unknown activation" 'swooshing' 'config hidden_act "\"swooshing\""'
broken "no weights" 'safetensors' 'rm model.safetensors'
broken "weights cut" 'model.safetensors' 'head -c 100000 model.safetensors > m; mv m model.safetensors'
broken "missing tensor" 'model.norm.weight' 'sed -i s/model.norm.weight/model.norm.weighX/ model.safetensors'
broken "weights are text" 'model.safetensors' 'echo "version https://git-lfs.github.com/spec/v1" > model.safetensors'
refuses 1 "token past the vocabulary" '97' probe --model "$golden/llama_lora" --ids 1,97 --out "$work/p"
refuses 1 "negative token" '\-4' probe --model "$golden/llama_lora" --ids 1,-4 --out "$work/p"
refuses 1 "more tokens than positions" '64' probe --model "$golden/llama_lora" \
    --ids "$(seq -s, 1 65)" --out "$work/p"

# ---- adapters ----

bad_adapter() {
    rm -rf "$work/adapter"
    cp -r "$golden/llama_lora/adapter" "$work/adapter"
    (cd "$work/adapter" && chmod u+w ./* && eval "$3")
    refuses 1 "$1" "$2" probe --model "$golden/llama_lora" --adapter "$work/adapter" --ids 1,2,3 --out "$work/p"
}
set_adapter() { sed -i "s/\"$1\": [^,]*/\"$1\": $2/" adapter_config.json; }
refuses 1 "adapter of another family" '.' probe --model "$golden/gpt2_lora" --adapter "$golden/llama_lora/adapter" \
    --ids 1,2,3 --out "$work/p"
refuses 1 "adapter of another width" '.' probe --model "$golden/llama_lora" --adapter "$golden/llama_f16/adapter" \
    --ids 1,2,3 --out "$work/p"
refuses 1 "no such adapter" 'nowhere' probe --model "$golden/llama_lora" --adapter "$work/nowhere" --ids 1 --out "$work/p"
bad_adapter "adapter configuration cut" 'adapter_config.json' 'head -c 60 adapter_config.json > c; mv c adapter_config.json'
bad_adapter "rank 0 in the configuration" 'r(ank)?\b' 'set_adapter r 0'
bad_adapter "another rank than the tensors have" 'lora_' 'set_adapter r 5'
bad_adapter "unknown method" 'FROB' 'set_adapter peft_type "\"FROB\""'
bad_adapter "initial values that change the base" 'init_lora_weights "pissa" is not supported' \
    'set_adapter init_lora_weights "\"pissa\""'
bad_adapter "no adapter weights" 'adapter_model' 'rm adapter_model.safetensors'
bad_adapter "adapter weights cut" 'adapter_model' 'head -c 900 adapter_model.safetensors > m; mv m adapter_model.safetensors'
bad_adapter "missing adapter tensor" 'q_proj' 'sed -i s/layers.0.self_attn.q_proj.lora_A/layers.0.self_attn.q_proj.lora_X/ adapter_model.safetensors'
for spec in lora:r=0 lora:r=-1 lora:r=x lora:alpha= lora:colour=red frob:r=8 lora:targets=nothing_like_it 'lora:r=8,,' ''; do
    refuses 1 "method \"$spec\"" '.' probe --model "$golden/llama_lora" --method "$spec" --ids 1,2 --out "$work/p"
done
refuses 1 "a target that is not in the model" 'ia3: no module of this llama model is selected by target_modules key, value' \
    probe --model "$golden/llama_lora" --method ia3:targets=key+value --ids 1,2 --out "$work/p"
run probe --model "$golden/llama_lora" --method ia3:targets=k_proj+value --ids 1,2 --out "$work/q"
check "one of two that is not" grep -q 'warning: ia3: this llama model has no module value, which target_modules names' "$work/err"
cp -r "$golden/llama_lora/adapter" "$work/eva" && (cd "$work/eva" && chmod u+w ./* && set_adapter init_lora_weights '"eva"')
must "initial values that a folder has" probe --model "$golden/llama_lora" --adapter "$work/eva" --ids 1,2,3 --out "$work/q"
run probe --model "$golden/bert_classes_lora" --method lora:targets=query+dense --ids 1,2 --out "$work/q"
check "a target outside of the blocks too" \
    grep -q 'warning: lora: bert.pooler.dense, which target_modules names too, is in no block of this bert model' "$work/err"
[ -e "$work/p" ] && not_ok "a file was written by a failed probe" || ok "no failed probe wrote a file"

# ---- data ----

make_base
train() {
    local name=$1 pattern=$2
    shift 2
    refuses 1 "$name" "$pattern" train --model "$work/base" --out "$work/t" --steps 1 --context 32 "$@"
    [ -e "$work/t" ] && not_ok "$name: $work/t was made" && rm -rf "$work/t"
}
: > "$work/empty.txt"
train "empty text" 'empty.txt' --data "$work/empty.txt"
: > "$work/empty.jsonl"
train "empty JSON lines" 'empty.jsonl' --data "$work/empty.jsonl"
train "no such data" 'nowhere.txt' --data "$work/nowhere.txt"
train "data is a folder" "$work" --data "$work"
printf '{"text": "good"}\n{"text": "bad\n' > "$work/x.jsonl"
train "JSON line that is cut" 'x.jsonl:2' --data "$work/x.jsonl"
printf '{"text": "good"}\n\n{"words": "bad"}\n' > "$work/x.jsonl"
train "JSON line of another kind" 'x.jsonl:3' --data "$work/x.jsonl"
printf '{"text": "good"}\n{"text": 7}\n' > "$work/x.jsonl"
train "number instead of text" 'x.jsonl:2' --data "$work/x.jsonl"
printf '{"text": "%s"}\n' "$(head -c 400 /dev/zero | tr '\0' a)" > "$work/x.jsonl"
train "line longer than the context" '32' --data "$work/x.jsonl"
printf '{"messages": [{"role": "user", "content": "hi"}]}\n' > "$work/x.jsonl"
train "nothing the assistant says" '.' --data "$work/x.jsonl"
train "context beyond the model" '128' --data "$work/text.txt" --context 4096
refuses 1 "model without a tokenizer" 'tokenizer' train --model "$golden/llama_lora" --data "$work/text.txt" \
    --out "$work/t" --steps 1
printf 'x' > "$work/file"
refuses 1 "out is a file" 'file' train --model "$work/base" --data "$work/text.txt" --out "$work/file" --steps 1 --context 32
mkdir "$work/mine" && echo keep > "$work/mine/notes.txt"
refuses 1 "out has something in it" 'not empty' train --model "$work/base" --data "$work/text.txt" --out "$work/mine"
refuses 1 "merge into such a folder" 'not empty' merge --model "$golden/llama_lora" \
    --adapter "$golden/llama_lora/adapter" --out "$work/mine"
refuses 1 "nothing to resume" 'no checkpoint' train --model "$work/base" --data "$work/text.txt" --out "$work/t" --resume

refuses 2 "labels of another shape" 'rows of 3, 1 rows of 2 were expected' probe --model "$golden/llama_lora" \
    --out "$work/o" --ids '1,2' --labels '1,2,3'

# ---- a full disk ----

disk=$work/disk
mkdir "$disk"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64k none "$disk" 2> /dev/null; then
    cleanup() {
        umount "$disk"
        rm -rf "$work"
    }
    # Weights come last and whole; a configuration without weights is no adapter and no model.
    leftovers() { find "$disk" -type f \( -name '*.safetensors' -o -name '*.tmp*' \); }
    refuses 1 "full disk under probe" 'No space' probe --model "$golden/llama_lora" --out "$disk/p.safetensors" \
        --method lora:r=64 --ids "$(seq -s, 1 60)"
    [ -z "$(leftovers)" ] && ok "it left nothing" || not_ok "it left something" "$(leftovers)"
    refuses 1 "full disk under merge" 'No space' merge --model "$golden/llama_lora" \
        --adapter "$golden/llama_lora/adapter" --out "$disk/merged"
    [ -z "$(leftovers)" ] && ok "it left nothing" || not_ok "it left something" "$(leftovers)"
    rm -rf "${disk:?}"/*
    echo old > "$disk/p.safetensors"
    refuses 1 "full disk over an old file" 'No space' probe --model "$golden/llama_lora" --out "$disk/p.safetensors" \
        --method lora:r=64 --ids "$(seq -s, 1 60)"
    [ "$(cat "$disk/p.safetensors")" = old ] && ok "the old file is still there" || not_ok "the old file is gone"
    rm -rf "${disk:?}"/*
    run train --model "$work/base" --data "$work/text.txt" --context 32 --steps 2 --method lora:r=64 --out "$disk/t"
    [ $status -eq 1 ] && tail -n 1 "$work/err" | grep -q '^espalier: .*No space' && ok "full disk under train" ||
        not_ok "full disk under train" "exit status $status" "$(tail -n 3 "$work/err")"
    [ -z "$(leftovers)" ] && ok "it left nothing" || not_ok "it left something" "$(leftovers)"
else
    skip "full disk (mounting a small one takes root)"
fi
finish
