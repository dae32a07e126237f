"""What `espalier probe` wrote, and comparing it with another program's logits; shared by the checks of this folder.

A probe holds `ids` [B,T] (I32 or I64) and `logits` F32, [B,T,outputs] or for heads of a row [B,outputs].
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

BOUND = 2e-5


def fail(text):
    sys.exit(f"{Path(sys.argv[0]).stem}: {text}")


def read_probe(path, vocabulary):
    """ids and logits, both checked."""
    try:
        probe = load_file(path)
    except Exception as why:
        fail(f"{path} is no safetensors file: {why}")
    for name, ranks in (("ids", (2,)), ("logits", (2, 3))):
        if name not in probe or probe[name].dim() not in ranks:
            fail(f"{path} has no `{name}` of {' or '.join(map(str, ranks))} dimensions")
    ids, logits = probe["ids"].long(), probe["logits"]
    if ids.numel() == 0 or ids.min() < 0 or ids.max() >= vocabulary:
        fail(f"{path}: ids are missing or outside the vocabulary of {vocabulary}")
    if not torch.isfinite(logits).all():
        fail(f"{path}: {int((~torch.isfinite(logits)).sum())} logits are not finite")
    return ids, logits.double()


def compare(what, ours, theirs, plain):
    """Says how far apart they are; ends the program beyond BOUND. plain: theirs without the adapter."""
    if ours.shape != theirs.shape:
        fail(f"{what}: our logits are {list(ours.shape)}, theirs {list(theirs.shape)}")
    error = ((ours - theirs).norm() / theirs.norm()).item()
    effect = ((plain - theirs).norm() / theirs.norm()).item()
    if not error <= BOUND:
        fail(f"{what}: logits differ by {error:.3g} of their norm, more than {BOUND:g} (base without adapter: {effect:.3g})")
    print(f"{what}: logits agree to {error:.3g} of their norm; the adapter moves them by {effect:.3g}")
    return effect
