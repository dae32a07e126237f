"""Representation fine-tuning as hooks: the Adapters library's ReftModule with its positions, and torch's own map from "original" and
"base" to orthonormal rows."""
import torch
from methods import OwnMethod
from oracle import exact
from cases_bottleneck import ACTIVATIONS
from cases_vectors import block_paths, blocks


class Unit:
    def __init__(self, config, d):
        self.config, r = config, config["r"]
        names = {"learned_source.weight": (r, d), "learned_source.bias": (r,)}
        self.orthogonal = config["orthogonality"]
        self.r = "projection.parametrizations.weight.original" if self.orthogonal else "projection.weight"
        self.p = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in {**names, self.r: (r, d)}.items()}
        if self.orthogonal:
            self.base = torch.zeros(d, d, dtype=torch.float64)

    def values(self):
        for name, p in self.p.items():
            value = 0.3 * torch.randn_like(p)
            if self.orthogonal and name == self.r:
                value.fill_diagonal_(-1)
                value[-1, p.shape[0] - 1] = 1
            yield name, p, value

    def projection(self):
        x = self.p[self.r]
        if not self.orthogonal:
            return x
        a = x.T.tril(-1)
        q = torch.linalg.householder_product(a, 2 / (1 + (a * a).sum(0)))
        # torch cuts the diagonal to whole numbers, which a decay of weights turns into zeros
        return (self.base @ (q * x.diagonal().detach().round())).T

    def __call__(self, h):
        r, f = self.projection(), ACTIVATIONS.get(self.config["non_linearity"], lambda u: u)
        u = f(h @ self.p["learned_source.weight"].T + self.p["learned_source.bias"])
        if self.config["subtract_projection"]:
            u = u - h @ r.T
        return h + u @ r


def edit(units, config, lengths, h):
    out = h.clone() + sum(0 * p.sum() for unit in units for p in unit.p.values())  # an unused unit has gradients 0
    for b in range(h.shape[0]):
        length = int(lengths[b]) if lengths is not None else h.shape[1]
        first, last = min(config["prefix_positions"], length), min(config["suffix_positions"], length)
        if first:
            out[b, :first] = units[0](h[b, :first])
        if last:
            out[b, length - last:length] = units[-1](h[b, length - last:length])
    return out


def attach(model, config):
    config, d, made, state = config["config"], model.config.hidden_size, {}, {}

    def look(module, arguments, keywords):
        mask = keywords.get("attention_mask")
        state["lengths"] = getattr(model, "edited", None if mask is None else mask.sum(1))

    model.register_forward_pre_hook(look, with_kwargs=True)
    for layer, block in enumerate(blocks(model)):
        if config["layers"] != "all" and layer not in config["layers"]:
            continue
        units = [Unit(config, d) for _ in range(1 if config["tied_weights"] else 2)]

        def change(module, arguments, output, units=units):
            if isinstance(output, tuple):
                return (edit(units, config, state["lengths"], output[0]), *output[1:])
            return edit(units, config, state["lengths"], output)

        block.register_forward_hook(change)
        for i, unit in enumerate(units):
            path = f"{block_paths(model)[layer]}.reft_layer.refts.a.units.{i}."
            made.update({path + n: (p, v) for n, p, v in unit.values()})
            if unit.orthogonal:
                made[f"{path}projection.parametrizations.weight.0.base"] = (unit.base, torch.linalg.qr(torch.randn(d, d).double())[0])
    return made


class Reft(OwnMethod):
    weights, base_key = "adapter.safetensors", "model_name"

    def __init__(self, **config):
        defaults = dict(architecture="reft", layers="all", prefix_positions=3, suffix_positions=0, r=1, tied_weights=False,
                        orthogonality=False, subtract_projection=True, dropout=0.0, non_linearity=None)
        super().__init__(attach, config={**defaults, **config}, name="a", version="adapters.1.2.0", hidden_size=0, model_type="")

    def generate(self, model, folder, prompt, count):
        """The prompt's tokens are edited, those behind it are not (section 3 of the paper); the library takes each for first and last."""
        model, _ = self.load(model, folder)
        model.edited = torch.tensor([prompt.shape[1]])
        ids, logits = prompt, []
        for _ in range(count):
            with exact(), torch.no_grad():
                logits.append(model(input_ids=ids).logits[:, -1])
            ids = torch.cat([ids, logits[-1].argmax(1, keepdim=True)], 1)
        return dict(prompt=prompt, generated=ids[:, prompt.shape[1]:], generated_logits=torch.stack(logits, 1))


def case(name, seed, base, more=(), **config):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, method=Reft(**config), **dict(more))


def bert(name, seed, **config):
    return dict(name=name, base="bert_classes_lora", batch=(3, 9), lengths=(9, 5, 7), types=True, labels=3, seed=seed,
                method=Reft(**config))


GENERATE = dict(generate=8)
CASES = [
    case("loreft_llama", 2400, "llama_lora", GENERATE, orthogonality=True, r=3, suffix_positions=2, layers=[1]),
    case("loreft_gpt2", 2401, "gpt2_lora", orthogonality=True, layers=[0]),  # a second unit that edits nothing
    case("noreft_gpt2", 2402, "gpt2_lora", r=2, prefix_positions=5, suffix_positions=4, non_linearity="gelu"),  # they meet
    case("direft_llama", 2433, "llama_lora", GENERATE, r=2, subtract_projection=False, suffix_positions=1, tied_weights=True),
    bert("bert_loreft", 2410, orthogonality=True, r=2, prefix_positions=4, suffix_positions=3, layers=[0], tied_weights=True),
    bert("bert_noreft", 2411, r=1, suffix_positions=1),
    bert("bert_direft", 2412, r=3, subtract_projection=False),
]
