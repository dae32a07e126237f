#!/usr/bin/env python3
"""Writes tests/golden/checkpoints: one set of tensors as torch.save has written it since 1.6 (zip.bin) and before
(old.bin), and as safetensors (expected.safetensors).

usage: make_checkpoints.py OUT        (needs torch, safetensors)
"""
import os
import sys

import torch
from safetensors.torch import save_file


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)


def main():
    out = sys.argv[1]
    torch.manual_seed(7)
    os.makedirs(out, exist_ok=True)
    state = Tiny().state_dict()  # an OrderedDict with the attribute _metadata
    whole = torch.randn(4, 6)
    state["whole"] = whole
    state["part"] = whole[1:3]  # shares the storage, contiguous, from an offset
    state["columns"] = whole[:, 2:5]
    state["transposed"] = whole.T
    state["every.other"] = whole[::2, ::3]
    state["half"] = torch.randn(5).half()
    state["brain"] = torch.randn(3, 1, 2).bfloat16().transpose(0, 2)
    state["double"] = torch.randn(2, 2, dtype=torch.float64)
    state["long"] = torch.tensor([-1, 2**40])
    state["int"] = torch.tensor([[7], [-8]], dtype=torch.int32)
    state["byte"] = torch.arange(5, dtype=torch.uint8)
    state["one"] = torch.tensor(3.5)
    state["none"] = torch.zeros(2, 0, 3)
    state["parameter"] = torch.nn.Parameter(torch.randn(2, 3))
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    save_file(tensors, os.path.join(out, "expected.safetensors"))
    state["epoch"], state["lr"], state["flags"], state["big"] = 3, 1e-3, [True, None, ("a", -70000)], 2**70
    state["bool"] = torch.tensor([True, False])
    torch.save(state, os.path.join(out, "zip.bin"))
    torch.save(state, os.path.join(out, "old.bin"), _use_new_zipfile_serialization=False)
    print(f"torch {torch.__version__}, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
