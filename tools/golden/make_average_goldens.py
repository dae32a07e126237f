"""Writes tests/golden/average/: three LoRAs on llama_lora (ranks 2, 3, 2; scales that are not 1) and what peft's
add_weighted_adapter makes of them in float64, as the change of one weight.

    python3 tools/golden/make_average_goldens.py
"""
from pathlib import Path

from oracle import load_model
import peft
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden"
ADAPTERS = dict(a=(2, 5), b=(3, 4), c=(2, 1))
CASES = {
    "cat": (["a", "b"], [0.5, -2.0], dict(combination_type="cat")),
    "svd": (["a", "b"], [0.7, -1.2], dict(combination_type="svd")),
    "svd_1": (["a", "b", "c"], [0.7, 1.2, -0.3], dict(combination_type="svd", svd_rank=1)),
    "linear": (["a", "c"], [0.6, -1.5], dict(combination_type="linear")),
}


def main():
    folder = ROOT / "average"
    torch.manual_seed(2500)
    model = load_model(ROOT / "llama_lora")
    model.__dict__["name_or_path"] = "llama_lora"
    for name, (r, alpha) in ADAPTERS.items():
        config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=["k_proj"], layers_to_transform=[1],
                                 task_type="CAUSAL_LM", init_lora_weights=False)
        if name == "a":
            model = peft.get_peft_model(model, config, adapter_name=name, autocast_adapter_dtype=False)
        else:
            model.add_adapter(name, config, autocast_adapter_dtype=False)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = p.data.float()
    model.save_pretrained(folder)
    for readme in folder.rglob("README.md"):
        readme.unlink()
    model.double()
    target, out = model.base_model.model.model.layers[1].self_attn.k_proj, {}
    for name, (adapters, weights, more) in CASES.items():
        model.add_weighted_adapter(adapters, weights, name, **more)
        out[name] = target.get_delta_weight(name).detach().clone()
    save_file(out, folder / "deltas.safetensors")


if __name__ == "__main__":
    main()
