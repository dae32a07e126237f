# A run that is stopped and resumed ends with the same bits as one that was not.
. "$SOURCE/tests/e2e/lib.sh"
need_device
make_base

# The flags of every run here; dropout draws random numbers in each step.
settings=(--model "$work/base" --data "$work/text.txt" --context 32 --batch 2 --accumulate 2 --steps 60 --seed 11
    --method lora:r=4,alpha=8,targets=q_proj+down_proj,dropout=0.1 --schedule cosine --warmup 5 --eval-every 20)

# The figures of a run that do not depend on the clock.
figures() { sed 's/"tokens_per_second":[^,]*,//' "$1/metrics.jsonl"; }

# stopped_by SIGNAL FOLDER STEPS: begins a run and ends it after so many steps. On a machine with other work this shell may be
# late, and the run at its end: then again.
stopped_by() {
    local try
    for try in 1 2 3 4 5; do
        rm -rf "$2"
        stop_once "$@"
        [ $status -ne 0 ] && break
    done
}

stop_once() {
    "$ESPALIER" train "${settings[@]}" --save-every 7 --out "$2" > "$work/out" 2> "$work/err" < /dev/null &
    local child=$! i
    for i in $(seq 600); do
        [ "$(cat "$2/metrics.jsonl" 2> /dev/null | wc -l)" -ge "$3" ] && break
        kill -0 $child 2> /dev/null || break
        sleep 0.05
    done
    kill "-$1" $child 2> /dev/null
    wait $child 2> /dev/null
    status=$?
}

same_result() {
    check "$1: same adapter" cmp "$work/whole/adapter_model.safetensors" "$2/adapter_model.safetensors"
    check "$1: same best adapter" cmp "$work/whole/best/adapter_model.safetensors" "$2/best/adapter_model.safetensors"
    figures "$work/whole" > "$work/a"
    figures "$2" > "$work/b"
    check "$1: same figures, each step once" diff "$work/a" "$work/b"
}

must "a run in one piece" train "${settings[@]}" --out "$work/whole"
check "sixty steps and four validations" test "$(wc -l < "$work/whole/metrics.jsonl")" -eq 64
must "the same run again" train "${settings[@]}" --out "$work/again"
same_result "the same run again" "$work/again"

for signal in INT TERM; do
    stopped_by $signal "$work/$signal" 12
    [ $status -eq 130 ] && ok "SIG$signal ends with 130" || not_ok "SIG$signal ends with 130" "exit status $status"
    check "SIG$signal: it says how to go on" grep -q -- '--resume' "$work/err"
    check "SIG$signal: there is a checkpoint" test -d "$work/$signal/checkpoint"
    check "SIG$signal: there is no adapter yet" test ! -e "$work/$signal/adapter_model.safetensors"
    refuses 1 "SIG$signal: not overwritten" 'resume' train "${settings[@]}" --out "$work/$signal"
    must "SIG$signal: resumed" train "${settings[@]}" --save-every 7 --out "$work/$signal" --resume
    same_result "SIG$signal" "$work/$signal"
done

stopped_by KILL "$work/KILL" 12
[ $status -eq 137 ] && ok "SIGKILL" || not_ok "SIGKILL" "exit status $status"
must "SIGKILL: resumed from the checkpoint before" train "${settings[@]}" --save-every 7 --out "$work/KILL" --resume
same_result "SIGKILL" "$work/KILL"

must "a finished run is resumed without effect" train "${settings[@]}" --out "$work/KILL" --resume
same_result "finished" "$work/KILL"

refuses 1 "resumed with another rank" '.' train "${settings[@]}" --method lora:r=8 --out "$work/KILL" --resume
refuses 1 "resumed with another rate" '.' train "${settings[@]}" --lr 0.5 --out "$work/KILL" --resume
refuses 1 "resumed with another text" '.' train "${settings[@]}" --data "$work/other.txt" --out "$work/KILL" --resume
truncate -s 500 "$work"/KILL/checkpoint/*.safetensors
refuses 1 "resumed from a cut checkpoint" 'checkpoint' train "${settings[@]}" --out "$work/KILL" --resume

full=(--model "$SOURCE/tests/e2e/tiny" --init random --method full --data "$work/text.txt" --context 32 --steps 30
    --seed 5)
must "full training in one piece" train "${full[@]}" --out "$work/full"
must "and with the recomputation of blocks" train "${full[@]}" --recompute --out "$work/recompute"
check "recomputation gives the same bits" cmp "$work/full/model.safetensors" "$work/recompute/model.safetensors"
settings=("${full[@]}")
stopped_by INT "$work/full-int" 8
[ $status -eq 130 ] && ok "full: SIGINT" || not_ok "full: SIGINT" "exit status $status"
must "full: resumed" train "${full[@]}" --save-every 7 --out "$work/full-int" --resume
check "full: same model" cmp "$work/full/model.safetensors" "$work/full-int/model.safetensors"
finish
