"""Tiny-attention adapters (Zhao et al. 2022): y' = y + W_o attention(W_q y, W_k y, W_v y) on the attention sub-layer's output."""
import math

import torch
from methods import OwnMethod
from places import Sublayers

MAPS = ("q", "k", "v")


class TinyAttention:
    def __init__(self, config, d, mask):
        self.heads, self.dim, self.mask = config["heads"], config["head_dim"], mask
        width = self.heads * self.dim
        shapes = {f"{m}.weight": (width, d) for m in MAPS} | {"o.weight": (d, width)}
        if config["bias"]:
            shapes |= {f"{m}.bias": (width,) for m in MAPS} | {"o.bias": (d,)}
        if config["layer_norm"]:
            shapes |= {"norm.weight": (d,), "norm.bias": (d,)}
        self.p = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in shapes.items()}

    def values(self):
        """Weights with which a query tells keys apart, but no softmax is saturated: its gradient would be rounding noise."""
        scale = 1.3 / self.p["o.weight"].shape[0] ** 0.5 if "norm.weight" in self.p else 0.15
        for name, p in self.p.items():
            noise = torch.randn_like(p)
            yield name, p, 1 + 0.2 * noise if name == "norm.weight" else scale * noise

    def map(self, name, x):
        y = x @ self.p[f"{name}.weight"].T
        return y + self.p[f"{name}.bias"] if f"{name}.bias" in self.p else y

    def __call__(self, o, x, norm):
        h = o
        if "norm.weight" in self.p:
            h = torch.nn.functional.layer_norm(o, o.shape[-1:], self.p["norm.weight"], self.p["norm.bias"], 1e-5)
        q, k, v = (self.map(m, h).unflatten(-1, (self.heads, self.dim)).transpose(1, 2) for m in MAPS)
        scores = (q @ k.transpose(2, 3)) / math.sqrt(self.dim)
        scores = scores.masked_fill(~self.mask(scores.shape), -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = o + self.map("o", mixed) + x
        return norm(y) if norm else y


def attach(model, config):
    made, places, state = {}, Sublayers(model), {}

    def look(module, arguments, keywords):
        state["padding"] = keywords.get("attention_mask")

    def mask(shape):
        """[batch, 1, queries, keys]: what a query sees."""
        batch, _, queries, keys = shape
        seen = torch.ones(queries, keys, dtype=torch.bool)
        seen = (seen if places.post_norm else seen.tril()).expand(batch, 1, queries, keys)
        return seen if state["padding"] is None else seen & state["padding"].bool()[:, None, None, :]

    model.register_forward_pre_hook(look, with_kwargs=True)
    for layer in range(places.count):
        tiny = TinyAttention(config, model.config.hidden_size, mask)
        places.replace(layer, "attention", tiny)
        made.update({f"base_model.model.{places.paths[layer]}.tiny_attn.{n}": (p, v) for n, p, v in tiny.values()})
    return made


def method(heads, dim, **flags):
    return dict(peft_type="TINYATTN", heads=heads, head_dim=dim, **{"bias": False, "layer_norm": False, **flags})


CASES = [
    dict(name="tiny_attention_llama", base="llama_lora", batch=(2, 7, 0), seed=2303, method=OwnMethod(attach, **method(1, 1))),
    dict(name="tiny_attention_gpt2", base="gpt2_lora", batch=(2, 7, 0), seed=2301,
         method=OwnMethod(attach, **method(3, 5, bias=True, layer_norm=True))),
]
