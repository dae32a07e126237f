"""Does PEFT get from an adapter folder what our program got from it?

    python3 tools/golden/check_peft.py MODEL_DIR ADAPTER_DIR PROBE.safetensors [--greedy N]

PROBE is what `espalier probe` wrote. The model and the adapter are loaded with transformers and peft, widened to float64, and
run on its ids. Passes when norm(ours - theirs) <= 2e-5 * norm(theirs). With --greedy N each row's N most likely next ids are printed too.
"""
import argparse
from pathlib import Path

from oracle import forward, greedy, load_adapter, load_model
from probes import compare, fail, read_probe
import peft
import torch
from safetensors.torch import load_file


def same_tensors(model, folder):
    """peft only warns about names it does not know or does not find."""
    stored = load_file(folder / "adapter_model.safetensors")
    loaded = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    for names, what in ((set(loaded) - set(stored), "lacks"), (set(stored) - set(loaded), "has unknown")):
        if names:
            fail(f"{folder / 'adapter_model.safetensors'} {what} {len(names)} tensors, the first {min(names)}")
    for name in stored:
        if not torch.equal(stored[name].double(), loaded[name].double()):
            fail(f"{folder}: peft did not take {name} as it is stored")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("probe", type=Path)
    parser.add_argument("--greedy", type=int, default=0, metavar="N")
    args = parser.parse_args()
    for file in (args.model / "config.json", args.adapter / "adapter_config.json",
                 args.adapter / "adapter_model.safetensors", args.probe):
        if not file.is_file():
            fail(f"{file} does not exist")
    try:
        base = load_model(args.model)
        ids, ours = read_probe(args.probe, base.config.vocab_size)
        with torch.no_grad():
            plain = forward(base, ids).logits
            model = load_adapter(base, args.adapter)
            same_tensors(model, args.adapter)
            theirs = forward(model, ids).logits
    except Exception as why:
        fail(f"transformers or peft refuse the folders: {' '.join(str(why).split())[:300]}")
    compare(args.adapter.name, ours, theirs, plain)
    for row in ids if args.greedy > 0 else []:
        print("greedy:", *greedy(model, row[None], args.greedy))


if __name__ == "__main__":
    main()
