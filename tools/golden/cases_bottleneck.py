"""Bottleneck adapters as hooks: the Adapters library's Adapter and ParallelAdapter, read from its pre_forward, forward and
post_forward."""
import torch
from methods import OwnMethod, keep_scores
from places import Sublayers, before_head, embedded

DEFAULTS = dict(mh_adapter=False, output_adapter=True, original_ln_before=False, original_ln_after=True, residual_before_ln=True,
                adapter_residual_before_ln=False, ln_before=False, ln_after=False, is_parallel=False, scaling=1.0,
                use_gating=False, leave_out=[], dropout=0.0, init_weights="bert", phm_layer=False, phm_dim=4, phm_rank=1, shared_phm_rule=True,
                factorized_phm_W=True, architecture=None)
PFEIFFER = dict(original_ln_before=True, non_linearity="relu", reduction_factor=4)
HOULSBY = dict(mh_adapter=True, non_linearity="swish", reduction_factor=3)
PARALLEL = dict(is_parallel=True, non_linearity="relu", reduction_factor=2, scaling=4.0, init_weights="mam_adapter")
PLUS = dict(original_ln_before=True, original_ln_after=False, residual_before_ln=False, non_linearity="gelu", reduction_factor=5,
            scaling="channel", init_weights="houlsby")
INVERTIBLE = dict(output_adapter=False, non_linearity="relu", reduction_factor=16, inv_adapter="nice", inv_adapter_reduction_factor=2)
COMPACTER = dict(mh_adapter=True, non_linearity="gelu", reduction_factor=3, phm_layer=True)
ACTIVATIONS = dict(relu=torch.relu, swish=torch.nn.functional.silu, gelu=torch.nn.functional.gelu, tanh=torch.tanh)


def width(config, layer, d):
    if layer in config["leave_out"]:
        return 0
    factor = config["reduction_factor"]
    return max(1, int(d // (factor.get(str(layer), factor.get("default")) if isinstance(factor, dict) else factor)))


class Bottleneck:
    """One adapter: its parameters under the library's names."""

    def __init__(self, config, d, k, name):
        self.config, self.name = config, name
        first = 1 if config["ln_before"] else 0
        self.down = f"adapter_down.{first}"
        shapes = {**self.map_shapes(self.down, d, k), **self.map_shapes("adapter_up", k, d)}
        if config["use_gating"]:
            shapes.update({"gate.weight": (1, d), "gate.bias": (1,)})
        for place in ("before", "after"):
            if config[f"ln_{place}"]:
                shapes.update({f"adapter_norm_{place}.weight": (d,), f"adapter_norm_{place}.bias": (d,)})
        if isinstance(config["scaling"], str):
            shapes["scaling"] = (1,) if config["scaling"] == "learned" else (d,)
        self.p = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in shapes.items()}

    def values(self):
        for name, p in self.p.items():
            noise = torch.randn_like(p)
            yield name, p, 1 + 0.2 * noise if name == "scaling" or ("norm" in name and name.endswith("weight")) else 0.3 * noise

    def map_shapes(self, name, inputs, outputs):
        c = self.config
        if not c["phm_layer"]:
            return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
        n, r = c["phm_dim"], c["phm_rank"]
        shapes = {f"{name}.W_left": (n, inputs // n, r), f"{name}.W_right": (n, r, outputs // n)} if c["factorized_phm_W"] \
            else {f"{name}.W": (n, inputs // n, outputs // n)}
        rule = {} if c["shared_phm_rule"] else {f"{name}.phm_rule": (n, n, n)}
        return {**shapes, **rule, f"{name}.b": (outputs,)}

    def map(self, name, x):
        if not self.config["phm_layer"]:
            return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]
        rule = self.rule if self.config["shared_phm_rule"] else self.p[f"{name}.phm_rule"]
        w = torch.bmm(self.p[f"{name}.W_left"], self.p[f"{name}.W_right"]) if self.config["factorized_phm_W"] else self.p[f"{name}.W"]
        return x @ sum(torch.kron(a, b) for a, b in zip(rule, w)) + self.p[f"{name}.b"]

    def norm(self, place, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], self.p[f"adapter_norm_{place}.weight"],
                                              self.p[f"adapter_norm_{place}.bias"], 1e-5)

    def branch(self, h):
        if self.config["ln_before"]:
            h = self.norm("before", h)
        u = self.map("adapter_up", ACTIVATIONS[self.config["non_linearity"]](self.map(self.down, h)))
        return u * self.p["scaling"] if "scaling" in self.p else u * self.config["scaling"]

    def __call__(self, o, x, norm):
        """o: the sub-layer's output, x: its residual input, norm: the base's norm that follows, or None. Returns what the
        sub-layer gives in the end."""
        c, residual = self.config, o
        h = (self.normed() if c.get("par_input") == "normed" else x) if c["is_parallel"] else o
        if not c["is_parallel"] and c["original_ln_before"]:
            h = o + x
            if c["residual_before_ln"] == "post_add":
                residual = h
            h = norm(h) if norm else h
        if not c["is_parallel"] and c["residual_before_ln"] is False:
            residual = h
        y = self.branch(h)
        if c["use_gating"]:
            gate = torch.sigmoid(h @ self.p["gate.weight"].T + self.p["gate.bias"])
            y = y * keep_scores(f"{self.name}.gate", gate.mean(1))[:, None]
        if c["adapter_residual_before_ln"]:
            y = y + residual
        if c["ln_after"]:
            y = self.norm("after", y)
        if not c["adapter_residual_before_ln"]:
            y = y + residual
        if not c["original_ln_after"]:
            return y
        return norm(y + x) if norm else y + x


class Invertible:
    """The library's NICECouplingBlock."""

    def __init__(self, config, d):
        self.half, self.f = d // 2, ACTIVATIONS[config["non_linearity"]]
        k = self.half // config["inv_adapter_reduction_factor"]
        shapes = {"0.weight": (k, self.half), "0.bias": (k,), "2.weight": (self.half, k), "2.bias": (self.half,)}
        self.p = {f"{net}.{n}": torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for net in "FG" for n, s in shapes.items()}

    def net(self, name, x):
        x = self.f(x @ self.p[f"{name}.0.weight"].T + self.p[f"{name}.0.bias"])
        return x @ self.p[f"{name}.2.weight"].T + self.p[f"{name}.2.bias"]

    def forward(self, x):
        x1, x2 = x[..., :self.half], x[..., self.half:]
        y1 = x1 + self.net("F", x2)
        return torch.cat([y1, x2 + self.net("G", y1)], -1)

    def inverse(self, y):
        y1, y2 = y[..., :self.half], y[..., self.half:]
        x2 = y2 - self.net("G", y1)
        return torch.cat([y1 - self.net("F", x2), x2], -1)

    def attach(self, model, prefix):
        embedded(model, self.forward)
        before_head(model, self.inverse)
        return {f"{prefix}invertible_adapters.a.{n}": (p, 0.3 * torch.randn_like(p)) for n, p in self.p.items()}


def attach(model, config):
    config = config["config"]
    made, places = {}, Sublayers(model)
    n = config["phm_dim"]
    rule = torch.nn.Parameter(torch.zeros(n, n, n, dtype=torch.float64))
    if config["phm_layer"] and config["shared_phm_rule"]:
        made[f"{places.prefix}shared_parameters.a.phm_rule"] = (rule, 0.5 * torch.randn_like(rule))
    for layer in range(places.count):
        k = width(config, layer, model.config.hidden_size)
        for place in ("attention", "mlp"):
            if k and config["mh_adapter" if place == "attention" else "output_adapter"]:
                adapter = Bottleneck(config, model.config.hidden_size, k, f"{places.path(layer, place)}.adapters.a")
                adapter.rule = rule
                adapter.normed = lambda key=(layer, place): places.normed[key]
                places.replace(layer, place, adapter)
                made.update({f"{adapter.name}.{n}": (p, v) for n, p, v in adapter.values()})
    if config.get("inv_adapter"):
        made.update(Invertible(config, model.config.hidden_size).attach(model, places.prefix))
    return made


class LibraryMethod(OwnMethod):
    """The same in a folder of the Adapters library."""

    def __init__(self, **config):
        super().__init__(attach, config={**DEFAULTS, **config}, name="a", version="adapters.1.2.0", hidden_size=0, model_type="")

    weights, base_key = "adapter.safetensors", "model_name"


def case(name, seed, base, preset, **change):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, method=LibraryMethod(**{**preset, **change}))


CASES = [
    case("houlsby_llama", 2100, "llama_lora", HOULSBY),
    case("houlsby_gpt2", 2101, "gpt2_lora", HOULSBY, leave_out=[0], ln_before=True, ln_after=True),
    case("pfeiffer_llama", 2102, "llama_lora", PFEIFFER),
    case("pfeiffer_gpt2", 2103, "gpt2_lora", PFEIFFER, reduction_factor={"1": 13, "default": 3},
         adapter_residual_before_ln=True, ln_after=True, residual_before_ln="post_add", original_ln_after=False),
    case("parallel_llama", 2104, "llama_lora", PARALLEL),
    case("parallel_normed_llama", 2120, "llama_lora", PARALLEL, par_input="normed", mh_adapter=True),
    case("parallel_normed_gpt2", 2121, "gpt2_lora", PARALLEL, par_input="normed", scaling="learned"),
    case("scaled_parallel_gpt2", 2105, "gpt2_lora", PARALLEL, scaling="learned"),
    case("adapterplus_llama", 2106, "llama_lora", PLUS),
    case("compacter_llama", 2107, "llama_lora", COMPACTER),
    case("compacter_pp_gpt2", 2108, "gpt2_lora", COMPACTER, mh_adapter=False, original_ln_before=True, phm_rank=2, phm_dim=2,
         reduction_factor=4, shared_phm_rule=False),
    case("compacter_dense", 2109, "llama_lora", COMPACTER, phm_dim=3, factorized_phm_W=False, reduction_factor=8),
    case("gated_llama", 2110, "llama_lora", PFEIFFER, use_gating=True),
    case("invertible_llama", 2112, "llama_lora", INVERTIBLE),
    case("invertible_gpt2", 2113, "gpt2_lora", HOULSBY, inv_adapter="nice", inv_adapter_reduction_factor=3, non_linearity="tanh"),
    dict(name="bert_invertible", base="bert_masked_full", batch=(2, 8), lengths=(8, 5), types=True, seed=2114,
         method=LibraryMethod(**{**PFEIFFER, **INVERTIBLE, "output_adapter": True})),
    case("width_1", 2111, "llama_lora", HOULSBY, reduction_factor=48, mh_adapter=False),
]
