"""LoRA's relatives: DoRA, DyLoRA, VeRA, AdaLoRA."""
import peft
import torch
from methods import OwnMethod, PeftMethod


def dora(name, p):
    return 0.6 + 0.3 * torch.rand_like(p) if "magnitude" in name else p


def dora_case(name, base, seed, **arguments):
    """The norm is a constant to the gradient, so differences know the magnitudes' alone."""
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, differences=lambda n: "magnitude" in n,
                method=PeftMethod(peft.LoraConfig, change=dora, use_dora=True, init_lora_weights=False, **arguments))


def vera(name, p):
    return 0.5 * torch.randn_like(p)


def vera_case(name, base, seed, **arguments):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed,
                method=PeftMethod(peft.VeraConfig, change=vera, frozen=["base_model.vera_A", "base_model.vera_B"], **arguments))


def adalora(name, p):
    return 0.4 * torch.randn_like(p)


def orthogonality(weight):
    """weight times the mean of |P P^T - I| over all A and B."""
    def penalty(named):
        covariances = [p @ p.T if "lora_A" in n else p.T @ p for n, p in named.items() if "lora_A" in n or "lora_B" in n]
        norms = [torch.linalg.norm(c - torch.eye(len(c), dtype=c.dtype)) for c in covariances]
        return weight * (sum(norms) / len(norms)).detach()
    return penalty


def adalora_case(name, base, seed, weight, **arguments):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, penalty=orthogonality(weight),
                method=PeftMethod(peft.AdaLoraConfig, change=adalora, orth_reg_weight=weight, total_step=10, **arguments))


def targets(model, config):
    """(path, module, in, out) of every map that target_modules names."""
    for path, module in model.named_modules():
        if f".{path}".endswith(tuple(f".{name}" for name in config["target_modules"])):
            shape = module.weight.shape
            yield (path, module, *(shape if type(module).__name__ == "Conv1D" else reversed(shape)))


def parameter(*shape):
    return torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))


def dylora(model, config):
    """y += alpha / b B[:, :b] A[:b] x (Valipour et al. 2023); update_mode "frozen": row and column b alone have a gradient."""
    b, made = config["pb_p"], {}

    def add(A, B):
        def hook(module, inputs, y):
            a, c = A[:b], B[:, :b]
            if config["update_mode"] == "frozen":
                a = torch.cat([a[:-1].detach(), a[-1:]])
                c = torch.cat([c[:, :-1].detach(), c[:, -1:]], 1)
            return y + config["lora_alpha"] / b * inputs[0] @ a.T @ c.T
        return hook

    for path, module, ins, outs in targets(model, config):
        A, B = parameter(config["r"], ins), parameter(outs, config["r"])
        module.register_forward_hook(add(A, B))
        made[f"base_model.model.{path}.lora_A.weight"] = (A, 0.3 * torch.randn_like(A))
        made[f"base_model.model.{path}.lora_B.weight"] = (B, 0.3 * torch.randn_like(B))
    return made


DYLORA = dict(peft_type="DYLORA", r=6, r_min=1, r_max=6, lora_alpha=5, pb="fixed", pb_p=3, update_mode="full",
              loss_mode="individual", frozen_decay=True)


def dylora_case(name, base, seed, **config):
    config = {**DYLORA, **config}
    # A detached part's gradient is not the loss's, but the largest entry, which is compared, is none of it.
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, method=OwnMethod(dylora, **config))


CASES = [
    dora_case("dora_llama", "llama_lora", 2201, r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]),
    dora_case("dora_gpt2", "gpt2_lora", 2202, r=2, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]),
    dora_case("dora_qwen2", "qwen2_bias_all", 2203, use_rslora=True, r=4, lora_alpha=3,
              target_modules=["q_proj", "k_proj", "o_proj"], rank_pattern={"k_proj": 2}),
    dylora_case("dylora_llama", "llama_lora", 2210, target_modules=["q_proj", "v_proj", "down_proj"]),
    dylora_case("dylora_gpt2", "gpt2_lora", 2211, target_modules=["c_attn", "c_fc"], r=3, r_max=3, pb_p=2, fan_in_fan_out=True),
    dylora_case("dylora_frozen", "llama_lora", 2212, target_modules=["q_proj", "o_proj"], update_mode="frozen", pb_p=4),
    adalora_case("adalora_llama", "llama_lora", 2230, 0.5, init_r=5, target_r=2, lora_alpha=7,
                 target_modules=["q_proj", "v_proj", "down_proj"]),
    adalora_case("adalora_gpt2", "gpt2_lora", 2231, 0.1, init_r=3, target_r=2, target_modules=["c_attn", "c_proj"],
                 fan_in_fan_out=True),
    vera_case("vera_llama", "llama_lora", 2220, r=5, target_modules=["q_proj", "v_proj", "down_proj"]),
    vera_case("vera_gpt2", "gpt2_lora", 2221, r=7, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
]
