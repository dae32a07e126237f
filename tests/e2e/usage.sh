# The command line: help of every command, and what is not understood.
. "$SOURCE/tests/e2e/lib.sh"

commands="devices train sweep eval generate merge average convert inspect methods bench probe"
must "overview" help
for command in $commands; do
    check "the overview names $command" grep -q "^  $command " "$work/out"
done
for command in $commands; do
    must "help $command" help "$command"
    check "help $command has a usage line" grep -q "^usage: espalier $command" "$work/out"
    check "help $command fits 120 columns" awk 'length > 120 { exit 1 }' "$work/out"
    cp "$work/out" "$work/help"
    run "$command" --help
    check "$command --help is the same text" cmp "$work/help" "$work/out"
done
must "version" --version
check "one line of version" grep -qE '^espalier [0-9]+\.[0-9]+\.[0-9]+$' "$work/out"

run
[ $status -eq 2 ] && ok "no command at all" || not_ok "no command at all" "exit status $status"
refuses 2 "unknown command" 'no command "paint"' paint
refuses 2 "help of an unknown command" 'no command "paint"' help paint
refuses 2 "unknown flag" '\-\-colour' train --colour red
refuses 2 "flag of another command" '\-\-prompt' train --prompt x
refuses 2 "flag of another command that begins one of its own" '\-\-mode is not one' merge --model m --mode exact --adapter a --out o
refuses 2 "the same with =" '\-\-mode=exact is not one' merge --mode=exact --model m --adapter a --out o
refuses 2 "the same without a value" '\-\-mode is not one' merge --model m --adapter a --out o --mode
refuses 2 "beginning of a flag" '\-\-repet is not one' bench --repet 3
refuses 2 "short flag" 'flag -q' eval -q
refuses 2 "missing value" '\-\-model needs a value' eval --model
refuses 2 "missing flag" '\-\-data FILE is missing' eval --model m
refuses 2 "word that does not belong" '"surplus"' eval --model m --data d surplus
refuses 2 "switch with a value" '\-\-json=1' devices --json=1
refuses 2 "text for a number" '\-\-steps takes' train --model m --data d --out o --steps many
refuses 2 "negative number" '\-\-batch takes' train --model m --data d --out o --batch -3
refuses 2 "number beyond 32 bits" '\-\-steps takes' train --model m --data d --out o --steps 4294967296
refuses 2 "zero steps" '\-\-steps takes' train --model m --data d --out o --steps 0
refuses 2 "not a number" '\-\-lr takes' train --model m --data d --out o --lr nan
refuses 2 "number and more" '\-\-lr takes' train --model m --data d --out o --lr 1e-4x
refuses 2 "unknown mode" '\-\-mode takes one of' eval --model m --data d --mode quick
refuses 2 "unknown way to average" '\-\-mode takes one of linear' average --model m --adapter a --out o --mode exact
refuses 2 "a weight too few" 'a number for each of the 2 adapters' average --model m --adapter a --adapter b --weights 1 --out o
refuses 2 "a weight too many" 'a number for each of the 1 adapters' average --model m --adapter a --weights 1,2 --out o
refuses 2 "no weight" 'commas between, not "1,x"' average --model m --adapter a --adapter b --weights 1,x --out o
refuses 2 "a rank for all modes" '\-\-rank is of --mode svd' average --model m --adapter a --rank 2 --out o
refuses 2 "a rank of A and B" '\-\-rank is of --mode svd' average --model m --adapter a --mode ties --density 0.5 --rank 2 --out o
refuses 2 "no density" '\-\-mode dare_ties_svd needs --density' average --model m --adapter a --mode dare_ties_svd --out o
refuses 2 "a density of none" '\-\-density takes a number above 0' average --model m --adapter a --mode ties --density 0 --out o
refuses 2 "a density of more than all" '\-\-density takes a number above 0' average --model m --adapter a --mode ties --density 1.01 --out o
refuses 2 "a density for all modes" '\-\-density is of' average --model m --adapter a --mode svd --density 0.5 --out o
refuses 2 "a sign for all modes" '\-\-majority-sign is of' average --model m --adapter a --mode dare_linear --density 1 \
    --majority-sign total --out o
refuses 2 "unknown schedule" '\-\-schedule takes one of' train --model m --data d --out o --schedule linear\|cosine
refuses 2 "steps and epochs" '\-\-epochs' train --model m --data d --out o --steps 3 --epochs 3
refuses 2 "random weights under an adapter" '\-\-method full' train --model m --data d --out o --init random
refuses 2 "ragged rows" 'row 2 has 1' probe --model m --out o --ids '1,2;3'
refuses 2 "letters among ids" 'character 3' probe --model m --out o --ids '1,a'
refuses 2 "no such benchmark" 'no benchmark "jump"' bench jump
must "help of average" help average
for mode in linear cat svd roots negate_b magnitude_prune dare_linear ties dare_ties magnitude_prune_svd dare_linear_svd ties_svd \
    dare_ties_svd; do
    check "it names $mode" grep -qw -- "$mode" "$work/out"
done
must "help of convert" help convert
check "it names the Adapters library's folders" grep -q -- '--adapter.*folder of PEFT or the Adapters library' "$work/out"
refuses 1 "a missing file is named once" '^espalier: [^:]*/config.json: could not be opened' convert --model "$work/none" \
    --adapter "$golden/llama_lora/adapter" --to gguf --out "$work/never"
refuses 2 "nothing to inspect" 'one PATH' inspect
must "inspect a folder of the Adapters library" inspect "$golden/bert_houlsby/adapter"
check "its configuration" grep -q '^config .*"architecture": *null\|^config .*reduction_factor' "$work/out"
check "its tensors" grep -q 'adapters\..*\.adapter_down\.0\.weight' "$work/out"
must "the same as .bin" inspect "$golden/library_lora_bert/adapter"
check "its tensors, too" grep -q 'loras\..*\.lora_A' "$work/out"
mkdir "$work/weightless" && cp "$golden/llama_lora/adapter/adapter_config.json" "$work/weightless"
refuses 1 "an adapter folder without weights" 'has no adapter_model.safetensors' inspect "$work/weightless"
must "methods" methods --format csv
check "a method's workspace has its own name" grep -q '^lora,.*,linear,yes' "$work/out"
check "every workspace has one" sh -c "! grep -q null $work/out"
check "full is among them" grep -q '^full,-,.*,the model itself,-$' "$work/out"
for method in $(sed '1d;s/,.*//;/^full$/d;/^union$/d' "$work/out"); do
    must "the keys of $method" methods "$method" --format csv
done
must "the keys of LoRA" methods lora --format csv
check "rsLoRA is one of them" grep -q '^lora,rslora,false,"true, false; alone: true",use_rslora$' "$work/out"
check "and initial values" grep -q '^lora,init,default,"default, gaussian, random",init_lora_weights$' "$work/out"
must "for a model" methods ia3 --model "$golden/llama_lora" --format md
check "its targets" grep -qF '| ia3 | targets | k_proj+v_proj+down_proj |' "$work/out"
refuses 1 "keys of a union of nothing" 'its parts have keys' methods union
refuses 1 "keys of no method" 'method "frob" is not one of: head, .*; full trains the model itself' methods frob
refuses 2 "keys of two methods" 'takes one method' methods lora ia3
refuses 2 "keys and a table" 'tables of their own' methods lora --table1
refuses 2 "a model for the list" 'model DIR is of' methods --model "$golden/llama_lora"
"$ESPALIER" help > /dev/full 2> "$work/err"
[ $? -eq 1 ] && ok "a full disk behind stdout" || not_ok "a full disk behind stdout"
finish
