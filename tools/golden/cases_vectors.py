"""Methods whose parameters are vectors: (IA)3, LN-tuning, BitFit, the head alone, PASTA, AdaLink."""
import peft
import torch
from methods import OwnMethod, PeftMethod


def scaled(name, p):
    return 1 + 0.3 * torch.randn_like(p)


def replace(model, config):
    """BitFit and head: parameters of the base itself, changed."""
    named = dict(model.named_parameters())
    chosen = [n for n in named if config["select"](n)]
    return {f"base_model.model.{n}": (named[n], named[n].detach() + 0.05 * torch.randn_like(named[n])) for n in chosen}


def bitfit(model, config):
    types = config.get("bias_types")
    return replace(model, dict(select=lambda n: n.endswith(".bias") and (
        not types or any(n.removesuffix(".bias").endswith("." + t) for t in types))))


def bitfit_added(model, config):
    """A model without biases gets one at every map."""
    made = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path != "lm_head":
            bias = torch.nn.Parameter(torch.zeros(module.out_features, dtype=torch.float64))
            module.bias = bias
            made[f"base_model.model.{path}.bias"] = (bias, 0.1 * torch.randn_like(bias))
    return made


def head(model, config):
    return replace(model, dict(select=lambda n: n == "lm_head.weight"))


CASES = [
    dict(name="ia3_llama", base="llama_lora", batch=(2, 7, 0), seed=2001,
         method=PeftMethod(peft.IA3Config, change=scaled)),
    dict(name="ia3_qwen2", base="qwen2_bias_all", batch=(2, 9, 2), seed=2002,
         method=PeftMethod(peft.IA3Config, change=scaled, target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
                           feedforward_modules=["o_proj", "down_proj"])),
    dict(name="ia3_gpt2", base="gpt2_lora", batch=(2, 7, 0), seed=2003,
         method=PeftMethod(peft.IA3Config, change=scaled, fan_in_fan_out=True)),
    dict(name="ia3_outputs", base="llama_linear_rope", batch=(1, 11, 0), seed=2004,
         method=PeftMethod(peft.IA3Config, change=scaled, target_modules=["k_proj", "o_proj", "gate_proj"],
                           feedforward_modules=[])),
    dict(name="ln_llama", base="llama_tied_rope_scaling", batch=(2, 7, 0), seed=2010,
         method=PeftMethod(peft.LNTuningConfig, change=scaled)),
    dict(name="ln_gpt2", base="gpt2_full", batch=(2, 7, 0), seed=2011,
         method=PeftMethod(peft.LNTuningConfig, change=scaled)),
    dict(name="bitfit_gpt2", base="gpt2_full", batch=(2, 7, 0), seed=2020, method=OwnMethod(bitfit, peft_type="BITFIT")),
    dict(name="bitfit_types", base="qwen2_bias_all", batch=(2, 7, 0), seed=2021,
         method=OwnMethod(bitfit, peft_type="BITFIT", bias_types=["q_proj", "v_proj"])),
    dict(name="bitfit_llama", base="llama_lora", batch=(2, 7, 0), seed=2022,
         method=OwnMethod(bitfit_added, peft_type="BITFIT")),
    dict(name="head_llama", base="llama_lora", batch=(2, 7, 0), seed=2030, method=OwnMethod(head, peft_type="HEAD")),
]
