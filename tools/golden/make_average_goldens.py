"""Writes tests/golden/average/: four LoRAs on llama_lora (ranks 2, 3, 2, 2; scales that are not 1) and what peft's
add_weighted_adapter makes of them in float64, as the change of one weight. What draws at random is left out.

    python3 tools/golden/make_average_goldens.py
"""
from pathlib import Path

from oracle import load_model
import peft
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden"
ADAPTERS = dict(a=(2, 5), b=(3, 4), c=(2, 1), d=(2, 3))
CASES = {
    "cat": (["a", "b"], [0.5, -2.0], dict(combination_type="cat")),
    "svd": (["a", "b"], [0.7, -1.2], dict(combination_type="svd")),
    "svd_1": (["a", "b", "c"], [0.7, 1.2, -0.3], dict(combination_type="svd", svd_rank=1)),
    "linear": (["a", "c"], [0.6, -1.5], dict(combination_type="linear")),
    "ties": (["a", "c", "d"], [0.6, -1.5, 1.1], dict(combination_type="ties", density=0.7)),
    "ties_frequency": (["a", "c", "d"], [0.6, 1.5, 1.1],
                       dict(combination_type="ties", density=0.7, majority_sign_method="frequency")),
    "ties_two": (["a", "c"], [0.6, 0.9], dict(combination_type="ties", density=1.0, majority_sign_method="frequency")),
    "ties_one": (["a"], [-0.6], dict(combination_type="ties", density=0.3)),
    "ties_svd": (["a", "b", "c"], [0.7, 1.2, -0.3], dict(combination_type="ties_svd", density=0.6)),
    "ties_svd_frequency": (["a", "b", "c"], [0.7, 1.2, 0.3], dict(combination_type="ties_svd", density=0.9, svd_rank=5,
                                                                   majority_sign_method="frequency")),
    "magnitude_prune": (["a", "c", "d"], [0.6, -1.5, 1.1], dict(combination_type="magnitude_prune", density=0.35)),
    "magnitude_prune_svd": (["a", "b"], [0.7, -1.2], dict(combination_type="magnitude_prune_svd", density=0.5, svd_rank=4)),
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
    torch.set_default_dtype(torch.float64)  # peft makes a tensor of the weights
    target, out = model.base_model.model.model.layers[1].self_attn.k_proj, {}
    for name, (adapters, weights, more) in CASES.items():
        model.add_weighted_adapter(adapters, weights, name, **more)
        out[name] = target.get_delta_weight(name).detach().clone()
    save_file(out, folder / "deltas.safetensors")


if __name__ == "__main__":
    main()
