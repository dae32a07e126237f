"""Methods whose parameters are vectors: (IA)3, LN-tuning, BitFit, the head alone, PASTA, AdaLink."""
import peft
import torch
from cases_lora import parameter
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


def blocks(model):
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner = getattr(base, "model", None) or getattr(base, "transformer", None) or base.base_model.encoder
    return getattr(inner, "layers", None) or getattr(inner, "h", None) or inner.layer


def block_paths(model):
    chosen = {id(b): i for i, b in enumerate(blocks(model))}
    return {chosen[id(m)]: n for n, m in model.named_modules() if id(m) in chosen}


def pasta(model, config):
    """H_i += e(v_p) before every block where token i is the p-th special token of its row (Yang et al. 2022)."""
    special, ablation = set(config["special_token_ids"]), config["ablation"]
    count = dict(none=config["num_special"], no_cls=config["num_special"] - 1, no_sep=1, shared=1)[ablation]
    state, made = {}, {}

    def look(module, arguments, keywords):
        ids = keywords["input_ids"] if "input_ids" in keywords else arguments[0]
        mask = keywords.get("attention_mask")
        state["ids"] = ids if mask is None else ids.masked_fill(mask == 0, -1)  # padding is not special

    def add(table):
        def hook(module, arguments, keywords):
            hidden = arguments[0] if arguments else keywords["hidden_states"]
            change = []
            for row in state["ids"].tolist():
                found, vectors = 0, []
                for token in row:
                    vector = torch.zeros_like(table[0])
                    if token in special:
                        index = dict(none=found, no_cls=found - 1, no_sep=0 if found == 0 else -1, shared=0)[ablation]
                        vector = table[index] if index >= 0 else vector
                        found += 1
                    vectors.append(vector)
                change.append(torch.stack(vectors))
            hidden = hidden + torch.stack(change)
            return ((hidden, *arguments[1:]), keywords) if arguments else (arguments, {**keywords, "hidden_states": hidden})
        return hook

    model.register_forward_pre_hook(look, with_kwargs=True)
    for i, path in sorted(block_paths(model).items()):
        block = blocks(model)[i]
        table = torch.nn.Parameter(torch.zeros(count, model.config.hidden_size, dtype=torch.float64))
        block.register_forward_pre_hook(add(table), with_kwargs=True)
        made[f"base_model.model.{path}.special_token_embedding.weight"] = (table, 0.3 * torch.randn_like(table))
    return made


TASKS = [1, 0, 1]  # of a batch's rows, where there are two links


def adalink(model, config):
    """E' = E + up(down(E)) on the token embeddings, or on what the embedding's norm gives (Wang et al. 2023); of several links
    each row has that of its task."""
    normed, r = config["position"] == "post_ln", config["r"]
    place = model.base_model.embeddings if normed else model.get_input_embeddings()
    d = model.config.hidden_size if normed else place.embedding_dim
    links = [(parameter(r, d), parameter(d, r)) for _ in config["links"]]

    def add(module, inputs, e):
        rows = [links[TASKS[i] if len(links) > 1 else 0] for i in range(len(e))]
        return torch.stack([row + row @ down.T @ up.T for row, (down, up) in zip(e, rows)])

    place.register_forward_hook(add)
    return {f"adalink.{name}.{part}.weight": (p, 0.3 * torch.randn_like(p))
            for name, link in zip(config["links"], links) for part, p in zip(("down", "up"), link)}


def pasta_case(name, seed, base, **change):
    config = dict(peft_type="PASTA", num_special=3, special_token_ids=[5, 41, 77], ablation="none", dropout=0.0, init="zero")
    return dict(name=name, base=base, batch=(2, 9, 0), seed=seed, ids=[[41, 7, 77, 9, 30, 5, 6, 12, 33], [8, 5, 9, 10, 11, 12, 13, 77, 4]],
                method=OwnMethod(pasta, **{**config, **change}))


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
    pasta_case("pasta_llama", 2040, "llama_lora"),
    pasta_case("pasta_gpt2", 2041, "gpt2_lora"),
    pasta_case("pasta_no_cls", 2042, "llama_lora", ablation="no_cls"),
    pasta_case("pasta_no_sep", 2043, "llama_lora", ablation="no_sep"),
    pasta_case("pasta_shared", 2044, "qwen3_patterns", ablation="shared"),
    dict(name="adalink_llama", base="llama_lora", batch=(2, 7, 0), seed=2050,
         method=OwnMethod(adalink, peft_type="ADALINK", r=3, links=["unified"], position="pre_sum", dropout=0.0)),
    dict(name="adalink_tasks_llama", base="llama_lora", batch=(3, 7, 0), seed=2052, tasks=TASKS,
         method=OwnMethod(adalink, peft_type="ADALINK", r=3, links=["qa", "nli"], position="pre_sum", dropout=0.0)),
    dict(name="adalink_gpt2", base="gpt2_full", batch=(2, 7, 0), seed=2051,
         method=OwnMethod(adalink, peft_type="ADALINK", r=5, links=["unified"], position="pre_sum", dropout=0.0)),
]
