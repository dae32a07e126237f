# The Adapters library itself loads what we save - adapters, heads beside them, and what convert makes of PEFT's folders -, and
# computes the same logits. Skipped where Python has no such library.
. "$SOURCE/tests/e2e/lib.sh"
need_device
need_python transformers adapters
check_library=$SOURCE/tools/golden/check_library.py
pairs=()
# What version 1.3.0 brought.
dora=()
if "$python" -c 'import adapters, sys; sys.exit(adapters.__version__ < "1.3")'; then
    dora=(library_dora:r=3,alpha=5,output library_dora:r=2,gated library_dora:r=2,vera_d=0.2,attention=q)
fi

# probed NAME ROWS: what our program makes of $work/NAME on $base, for `agrees`.
probed() {
    must "$1: probe" probe --model "$base" --adapter "$work/$1" --ids "$2" ${labels:+--labels "$labels"} --out "$work/$1.safetensors"
    pairs+=("$work/$1=$work/$1.safetensors")
}
# learned NAME ROWS SPEC [FLAGS]: trains it for a few steps, so that nothing is as it was made.
learned() {
    local name=$1 rows=$2 spec=$3
    shift 3
    must "$name: train" train --model "$base" "${data[@]}" --batch 2 --steps 4 --lr 2e-2 --method "$spec" --out "$work/$name" "$@"
    probed "$name" "$rows"
}
# converted NAME ROWS SPEC: a PEFT folder of the kind, written as the library has it.
converted() {
    must "$1: train" train --model "$base" "${data[@]}" --batch 2 --steps 4 --lr 2e-2 --method "$3" --out "$work/peft"
    must "$1: convert" convert --model "$base" --adapter "$work/peft" --to adapters --out "$work/$1"
    rm -r "$work/peft"
    probed "$1" "$2"
}
# agrees NAME [FLAGS]: the library, on all that was probed since the last time.
agrees() {
    local name=$1
    shift
    check "$name: the library agrees" "$python" "$check_library" "$base" "${pairs[@]}" "$@"
    grep "agree" "$work/check.log" | sed 's/^/    /'
}

# Llama.
base=$SOURCE/tools/base
data=(--data "$SOURCE/tools/base/style.txt" --context 64)
rows="0,80,147,200;0,5,9,11"
for method in pfeiffer:rf=16 houlsby:rf=16 parallel:rf=16 scaled_parallel:rf=16 adapterplus compacter:rf=16 compacter++:rf=16 \
    pfeiffer:rf=16,gated loreft:r=2 noreft:r=2 direft:r=2 library_lora:r=3 library_lora:r=3,gated \
    library_vera:r=4,attention=q mtl_lora:r=2,up=3,intermediate 'library_lora:r=2|pfeiffer:rf=16' "${dora[@]}"; do
    learned "llama-$(printf %s "$method" | tr -c 'a-z0-9+\n' _)" "$rows" "$method"
done
converted llama-from-lora "$rows" lora:r=3,alpha=5,targets=q_proj+v_proj
agrees Llama
# The library takes the embedding's change back in its own classes alone.
pairs=()
learned llama-inverse "$rows" pfeiffer:rf=16,inv=nice
learned llama-invertible "$rows" invertible
agrees "Llama, flexible" --flexible

# Prefixes: before 1.3.0 the library has them for as many key heads as query heads alone.
mkdir "$work/llama" && cp "$SOURCE"/tests/e2e/tiny/tokenizer*.json "$work/llama"
sed 's/"num_key_value_heads": 2/"num_key_value_heads": 4/; s/"initializer_range": 0.02/"initializer_range": 0.3/' \
    "$SOURCE/tests/e2e/tiny/config.json" > "$work/llama/config.json"
must "a Llama" train --model "$work/llama" --init random --method full "${data[@]}" --steps 1 --out "$work/llama-base"
base=$work/llama-base
pairs=()
for method in library_prefix:length=3,bottleneck=7 library_prefix:length=3,flat library_prefix:length=3,flat,gated mam unipelt; do
    learned "heads-$(printf %s "$method" | tr -c 'a-z0-9+\n' _)" "$rows" "$method"
done
converted heads-from-prefix "$rows" prefix:tokens=3
agrees "Llama with prefixes"

# GPT-2, whose q, k and v are one map.
mkdir "$work/gpt2" && cp "$SOURCE"/tests/e2e/tiny/tokenizer*.json "$work/gpt2"
cat > "$work/gpt2/config.json" <<'JSON'
{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 257, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128,
 "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "bos_token_id": 256, "eos_token_id": 256, "initializer_range": 0.3,
 "resid_pdrop": 0, "attn_pdrop": 0, "embd_pdrop": 0}
JSON
must "a GPT-2" train --model "$work/gpt2" --init random --method full "${data[@]}" --steps 1 --out "$work/gpt2-base"
base=$work/gpt2-base
pairs=()
rows="3,80,147,200;0,5,9,11"
learned gpt2-lora "$rows" library_lora:r=3,alpha=5,attention=q+v
learned gpt2-lora-k "$rows" library_lora:r=2,attention=k,gated
learned gpt2-bottleneck "$rows" houlsby:rf=4
learned gpt2-prefix "$rows" library_prefix:length=3,bottleneck=7
converted gpt2-from-lora "$rows" lora:r=3,targets=c_fc
agrees GPT-2

# Heads beside adapters: BERT's over its pooler, ELECTRA's of two layers, tags.
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' the a cat dog bird sleeps runs sings red blue big '##s' . > "$work/vocab"
mkdir "$work/others" && sed 's/bird/cow/; s/big/small/' "$work/vocab" > "$work/others/vocab.txt" && echo sheep >> "$work/others/vocab.txt"
{ printf 'text\tlabel\n'; printf 'the %s cat\tyes\na %s dog\tno\n' red red blue blue big big; } > "$work/train.tsv"
printf 'the O\ncats B-ANIMAL\nruns O\n\na O\ndog B-ANIMAL\nsleeps O\n\n' > "$work/tags.conll"
rows="2,5,13,7,3;2,6,8,10,3"
# encoder MODEL_TYPE TASK CLASS FILE LABELS
encoder() {
    mkdir -p "$work/$1"
    cp "$work/vocab" "$work/$1/vocab.txt"
    cat > "$work/$1/config.json" <<JSON
{"architectures": ["${3}Model"], "model_type": "$1", "vocab_size": 18, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
 "intermediate_size": 32, "hidden_act": "gelu", "max_position_embeddings": 24, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
 "initializer_range": 0.3, "pad_token_id": 0, "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0, "embedding_size": 16}
JSON
    data=(--task "$2" --context 8 --data "$4")
    labels=$5
    must "$1 for $2" train --model "$work/$1" --init random --method full "${data[@]}" --steps 1 --out "$work/$1-$2"
    base=$work/$1-$2
    pairs=()
}
encoder bert classification Bert "$work/train.tsv" '0;1'
for method in pfeiffer:rf=4 compacter:rf=2 library_lora:r=2 library_prefix:length=3,bottleneck=7 library_prompt:length=2 \
    library_prompt:length=2,combine=prefix_after_bos loreft:r=2 'library_prefix:length=3,bottleneck=7|parallel:rf=4' unipelt \
    library_vera:r=3 "${dora[@]}"; do
    learned "bert-$(printf %s "$method" | tr -c 'a-z0-9+\n' _)" "$rows" "$method"
done
converted bert-from-lora "$rows" lora:r=2,alpha=3
learned bert-embeddings "$rows" "embeddings:tokenizer=$work/others"
learned bert-embeddings-copy "$rows" embeddings
agrees BERT
agrees "BERT, flexible" --flexible
encoder electra classification Electra "$work/train.tsv" '0;1'
learned electra-bottleneck "$rows" pfeiffer:rf=4
learned electra-prompt "$rows" library_prompt:length=2
converted electra-from-lora "$rows" lora:r=2
agrees ELECTRA
agrees "ELECTRA, flexible" --flexible
encoder bert tagging Bert "$work/tags.conll" '0,1,1,0,0;1,0,0,1,0'
learned tags-bottleneck "$rows" pfeiffer:rf=4
converted tags-from-lora "$rows" lora:r=2
agrees tags
agrees "tags, flexible" --flexible
finish
