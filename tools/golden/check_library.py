"""Does the Adapters library get from our folders what our program got from them?

    python3 tools/golden/check_library.py MODEL_DIR ADAPTER_DIR=PROBE.safetensors ... [--flexible]

Each PROBE is what `espalier probe` wrote of MODEL_DIR with ADAPTER_DIR. The library loads the model anew for each, then the
adapter and the head that may be beside it, and runs them in float64. Passes when norm(ours - theirs) <= 2e-5 * norm(theirs) for
all, and every tensor of the folder is in the model as it is stored. --flexible: into the library's own model class, which makes
a flexible head of a static one.
"""
import argparse
import json
from pathlib import Path

from library import load
from oracle import exact
from probes import compare, fail, read_probe
import adapters
import torch
import transformers
from safetensors.torch import load_file


def logits_of(model, ids):
    more = dict(use_cache=False) if model.config.model_type in ("llama", "mistral", "gpt2") else {}
    torch.set_default_dtype(torch.float64)  # ReFT makes empty tensors of it
    with torch.no_grad(), exact():
        logits = model(input_ids=ids, **more).logits
    torch.set_default_dtype(torch.float32)
    return logits


def same_tensors(model, folder, file, flexible):
    """The library only warns about names it does not know or does not find."""
    if not (folder / file).is_file():
        return
    state = model.state_dict()
    for name, stored in load_file(folder / file).items():
        if flexible and file != "adapter.safetensors":  # a head that was renamed by its layers
            found = [t for n, t in state.items() if ".heads." in f".{n}" and t.shape == stored.shape and torch.equal(t, stored.double())]
        else:
            found = [state[n] for n in (name, f"{model.base_model_prefix}.{name}") if n in state]
        if not found:
            fail(f"{folder / file}: the library has no {name}")
        if not torch.equal(found[0].double(), stored.double()):
            fail(f"{folder / file}: the library did not take {name} as it is stored")


def add_first(model, folder):
    """What the library loses of a configuration between reading and using it: DiReFT would become NoReFT."""
    file = json.loads((folder / "adapter_config.json").read_text())
    if file["config"].get("subtract_projection", True):
        return
    known = {k: v for k, v in file["config"].items() if k in adapters.DiReftConfig.__dataclass_fields__}
    model.add_adapter(file["name"], config=adapters.DiReftConfig(**known))


def check(model_folder, folder, probe, flexible):
    config = transformers.AutoConfig.from_pretrained(model_folder, local_files_only=True)
    kind = adapters.ADAPTER_MODEL_MAPPING[type(config)] if flexible else None
    plain = load(model_folder)
    ids, ours = read_probe(probe, config.vocab_size)
    model = load(model_folder, kind)
    if (folder / "embedding.pt").is_file():
        name = "embeddings"
        tokenizer = model.load_embeddings(str(folder), name)
        if len(tokenizer) != model.get_input_embeddings().num_embeddings:
            fail(f"{folder}: the library finds {len(tokenizer)} tokens, of {model.get_input_embeddings().num_embeddings} rows")
    else:
        add_first(model, folder)
        name = model.load_adapter(str(folder), with_head=(folder / "head_config.json").is_file(), use_safetensors=True)
        model.set_active_adapters(name)
    model.double().eval()
    same_tensors(model, folder, "adapter.safetensors", flexible)
    same_tensors(model, folder, "model_head.safetensors", flexible)
    compare(f"{folder.name}, \"{name}\"", ours, logits_of(model, ids), logits_of(plain, ids))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="ADAPTER=PROBE")
    parser.add_argument("--flexible", action="store_true")
    args = parser.parse_args()
    for pair in args.pairs:
        folder, probe = map(Path, pair.split("="))
        try:
            check(args.model, folder, probe, args.flexible)
        except Exception as why:
            fail(f"{folder.name}: the library refuses it: {type(why).__name__}: {' '.join(str(why).split())[:300]}")


if __name__ == "__main__":
    main()
