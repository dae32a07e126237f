"""LoRA and prefix tuning as the Adapters library has them, with gates, and unions of them with bottlenecks: MAM and UniPELT."""
import sys

import cases_bottleneck
import torch
from cases_bottleneck import ACTIVATIONS, DEFAULTS, PARALLEL, PFEIFFER
from cases_reft import attach as reft
from methods import OwnMethod, keep_scores
from places import Sublayers

LORA = dict(architecture="lora", selfattn_lora=True, intermediate_lora=False, output_lora=False, leave_out=[], r=3, alpha=6,
            dropout=0.0, attn_matrices=["q", "v"], composition_mode="add", init_weights="lora", use_gating=False)
PREFIX = dict(architecture="prefix_tuning", flat=False, prefix_length=3, bottleneck_size=7, non_linearity="tanh", dropout=0.0,
              use_gating=False, shared_gating=True, leave_out=[])


def parameter(*shape):
    return torch.nn.Parameter(torch.zeros(*shape, dtype=torch.float64))


class Gate:
    """[rows, outputs]: one number for each sequence, or one for its keys and one for its values."""

    def __init__(self, name, width, made, outputs=1):
        self.name, self.weight, self.bias = name, parameter(outputs, width), parameter(outputs)
        made[f"{name}.weight"] = (self.weight, 0.3 * torch.randn_like(self.weight))
        made[f"{name}.bias"] = (self.bias, 0.3 * torch.randn_like(self.bias))

    def __call__(self, h):
        return keep_scores(self.name, torch.sigmoid(h @ self.weight.T + self.bias).mean(1))


def lora(model, config):
    config, made = config["config"], {}
    llama = hasattr(model, "model")
    ends = {f"{n}_proj" if llama else f"self.{w}" for n, w in zip("qkv", ("query", "key", "value")) if n in config["attn_matrices"]}
    ends |= {"mlp.down_proj" if llama else "intermediate.dense"} if config["intermediate_lora"] else set()
    ends |= {"mlp.up_proj"} if config["output_lora"] and llama else set()
    for path, module in list(model.named_modules()):
        if not any(path.endswith(end) for end in ends):
            continue
        a, b = parameter(config["r"], module.in_features), parameter(module.out_features, config["r"])
        made[f"{path}.loras.a.lora_A"] = (a, 0.3 * torch.randn_like(a))
        made[f"{path}.loras.a.lora_B"] = (b, 0.3 * torch.randn_like(b))
        gate = Gate(f"{path}.loras.a.gate", module.in_features, made) if config["use_gating"] else None

        def change(module, arguments, output, a=a, b=b, gate=gate):
            x = arguments[0]
            return output + (gate(x)[:, None] if gate else config["alpha"] / config["r"]) * (x @ a.T @ b.T)

        module.register_forward_hook(change)
    return made


def prefix(model, config):
    """After the positions were rotated in, keys and values of the prefix stand before the others; the mask lets all see them."""
    config, made, c = config["config"], {}, model.config
    heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
    size, rows, places = c.hidden_size // c.num_attention_heads, config["prefix_length"], Sublayers(model)
    name, columns = f"{places.prefix}prefix_tuning.prefix_tunings.a.self_prefix.", 2 * c.num_hidden_layers * heads * size
    shapes = {"control_trans": (rows * columns,)} if config["flat"] else {
        "wte.weight": (rows, c.hidden_size), "control_trans.0.weight": (config["bottleneck_size"], c.hidden_size),
        "control_trans.0.bias": (config["bottleneck_size"],), "control_trans.2.weight": (columns, config["bottleneck_size"]),
        "control_trans.2.bias": (columns,)}
    p = {n: parameter(*s) for n, s in shapes.items()}
    made.update({name + n: (t, 0.5 * torch.randn_like(t)) for n, t in p.items()})

    def table():
        if config["flat"]:
            return p["control_trans"].view(rows, -1, heads, size)
        h = ACTIVATIONS[config["non_linearity"]](p["wte.weight"] @ p["control_trans.0.weight"].T + p["control_trans.0.bias"])
        return (h @ p["control_trans.2.weight"].T + p["control_trans.2.bias"]).view(rows, -1, heads, size)

    attentions, inputs = {}, {}
    for layer, block in enumerate(places.blocks):
        module = getattr(block, "self_attn", None) or getattr(block, "attn", None) or block.attention.self
        path = next(n for n, m in model.named_modules() if m is module)
        gate = Gate(f"{path}.prefix_tuning.prefix_gates.a", c.hidden_size, made,
                    1 if config["shared_gating"] else 2) if config["use_gating"] else None
        attentions[module] = layer, gate
        module.register_forward_pre_hook(lambda m, a, k: inputs.update({m: a[0] if a else k["hidden_states"]}), with_kwargs=True)
    source = sys.modules[type(next(iter(attentions))).__module__]
    plain = source.eager_attention_forward

    def attend(module, query, key, value, mask, *rest, **keywords):
        if module not in attentions:
            return plain(module, query, key, value, mask, *rest, **keywords)
        layer, gate = attentions[module]
        g = gate(inputs[module])[:, :, None, None] if gate else None
        before = [(1 if g is None else g[:, -1:] if i else g[:, :1]) * table()[:, 2 * layer + i].transpose(0, 1).expand(query.shape[0], -1, -1, -1) for i in range(2)]
        key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        if mask is not None:
            mask = torch.cat([mask.new_zeros(*mask.shape[:3], rows), mask], 3)
        return plain(module, query, key, value, mask, *rest, **keywords)

    source.eager_attention_forward = attend
    return made


ATTACH = dict(lora=lora, prefix_tuning=prefix, reft=reft)


def attach(model, config):
    made = {}
    for one in config["config"].get("configs", [config["config"]]):
        made.update(ATTACH.get(one["architecture"], cases_bottleneck.attach)(model, dict(config=one)))
    return made


class Library(OwnMethod):
    weights, base_key = "adapter.safetensors", "model_name"

    def __init__(self, *configs):
        config = configs[0] if len(configs) == 1 else dict(architecture="union", configs=list(configs))
        super().__init__(attach, config=config, name="a", version="adapters.1.2.0", hidden_size=0, model_type="")


def bottleneck(preset, **change):
    return {**DEFAULTS, **preset, **change}


def llama(name, seed, *configs):
    return dict(name=name, base="llama_lora", batch=(2, 7, 0), seed=seed, method=Library(*configs))


def gpt2(name, seed, *configs):
    return {**llama(name, seed, *configs), "base": "gpt2_lora"}


def bert(name, seed, *configs):
    """Keys in whole quads, which those of bert_classes_lora are not."""
    return dict(name=name, base="bert_masked_full", batch=(2, 8), lengths=(8, 5), types=True, seed=seed, method=Library(*configs))


GATED = dict(use_gating=True)
CASES = [
    llama("library_lora_gated", 2520, dict(LORA, intermediate_lora=True, output_lora=True, attn_matrices=["q", "k"], alpha=4, **GATED)),
    bert("bert_library_lora", 2511, dict(LORA, intermediate_lora=True, **GATED)),
    gpt2("library_prefix_gpt2", 2502, dict(PREFIX)),
    llama("library_prefix_flat", 2503, dict(PREFIX, flat=True, prefix_length=2, **GATED)),
    bert("bert_library_prefix", 2504, dict(PREFIX, **GATED)),
    llama("library_prefix_gates", 2512, dict(PREFIX, flat=True, prefix_length=2, shared_gating=False, **GATED)),
    llama("mam_llama", 2505, dict(PREFIX), bottleneck(PARALLEL, reduction_factor=6)),
    llama("unipelt_llama", 2506, dict(PREFIX, **GATED), bottleneck(PFEIFFER, **GATED), dict(LORA, **GATED)),
    bert("bert_mam", 2509, dict(PREFIX), bottleneck(PARALLEL, reduction_factor=8)),
    bert("bert_unipelt", 2507, dict(PREFIX, **GATED), bottleneck(PFEIFFER, **GATED), dict(LORA, **GATED)),
    gpt2("union_gpt2", 2508, bottleneck(PFEIFFER, leave_out=[0]), bottleneck(PARALLEL, reduction_factor=8, leave_out=[1]), dict(
        architecture="reft", layers=[1], prefix_positions=2, suffix_positions=1, r=2, tied_weights=False, orthogonality=False,
        subtract_projection=True, dropout=0.0, non_linearity=None)),
]
