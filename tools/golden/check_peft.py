"""Does PEFT get from an adapter folder what our program got from it?

    python3 tools/golden/check_peft.py MODEL_DIR ADAPTER_DIR PROBE.safetensors [--greedy N]

PROBE holds `ids` [B,T] (I32 or I64) and `logits` F32 [B,T,V], as `espalier probe` writes them. The model and the
adapter are loaded with transformers and peft, widened to float64, and run on `ids`. Passes when
norm(ours - theirs) <= 2e-5 * norm(theirs). With --greedy N each row's N most likely next ids are printed too.
"""
import argparse
import sys
from pathlib import Path

from oracle import forward, greedy, load_adapter, load_model
import peft
import torch
from safetensors.torch import load_file

BOUND = 2e-5


def fail(text):
    sys.exit(f"check_peft: {text}")


def read_probe(path, vocab):
    try:
        probe = load_file(path)
    except Exception as why:
        fail(f"{path} is no safetensors file: {why}")
    for name, rank in (("ids", 2), ("logits", 3)):
        if name not in probe or probe[name].dim() != rank:
            fail(f"{path} has no `{name}` of {rank} dimensions")
    ids, logits = probe["ids"].long(), probe["logits"]
    if tuple(logits.shape) != (*ids.shape, vocab):
        fail(f"{path}: logits are {list(logits.shape)}, ids {list(ids.shape)} and the vocabulary {vocab}")
    if ids.numel() == 0 or ids.min() < 0 or ids.max() >= vocab:
        fail(f"{path}: ids are missing or outside the vocabulary of {vocab}")
    if not torch.isfinite(logits).all():
        fail(f"{path}: {int((~torch.isfinite(logits)).sum())} logits are not finite")
    return ids, logits.double()


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
        vocab = base.config.vocab_size
        ids, ours = read_probe(args.probe, vocab)
        with torch.no_grad():
            plain = forward(base, ids).logits
            model = load_adapter(base, args.adapter)
            same_tensors(model, args.adapter)
            theirs = forward(model, ids).logits
    except Exception as why:
        fail(f"transformers or peft refuse the folders: {' '.join(str(why).split())[:300]}")
    error = ((ours - theirs).norm() / theirs.norm()).item()
    effect = ((plain - theirs).norm() / theirs.norm()).item()
    if not error <= BOUND:
        fail(f"logits differ from PEFT's by {error:.3g} of their norm, more than {BOUND:g} "
             f"(base without adapter: {effect:.3g})")
    print(f"check_peft: logits agree with PEFT to {error:.3g} of their norm; "
          f"the adapter moves them by {effect:.3g}")
    for row in ids if args.greedy > 0 else []:
        print("greedy:", *greedy(model, row[None], args.greedy))


if __name__ == "__main__":
    main()
