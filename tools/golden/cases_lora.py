"""LoRA's relatives: DoRA."""
import peft
import torch
from methods import PeftMethod


def dora(name, p):
    return 0.6 + 0.3 * torch.rand_like(p) if "magnitude" in name else p


def dora_case(name, base, seed, **arguments):
    """The norm is a constant to the gradient, so differences know the magnitudes' alone."""
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, differences=lambda n: "magnitude" in n,
                method=PeftMethod(peft.LoraConfig, change=dora, use_dora=True, init_lora_weights=False, **arguments))


CASES = [
    dora_case("dora_llama", "llama_lora", 2201, r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]),
    dora_case("dora_gpt2", "gpt2_lora", 2202, r=2, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]),
    dora_case("dora_qwen2", "qwen2_bias_all", 2203, use_rslora=True, r=4, lora_alpha=3,
              target_modules=["q_proj", "k_proj", "o_proj"], rank_pattern={"k_proj": 2}),
]
