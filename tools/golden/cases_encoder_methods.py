"""Methods on a BERT that classifies rows with padding: post-norm places, pairs with special tokens, the task's head trained."""
import cases_flop
import cases_lora
import cases_prompt
import cases_tiny_attention
import peft
from cases_bottleneck import COMPACTER, HOULSBY, PARALLEL, PFEIFFER, PLUS, LibraryMethod
from cases_vectors import TASKS, adalink, pasta, replace, scaled
from methods import OwnMethod, PeftMethod


def with_head(attach):
    """The method and the classifier, as peft's task types have it."""
    def both(model, config):
        return {**attach(model, config), **replace(model, dict(select=lambda n: n.startswith("classifier.")))}
    return both


def biases(model, config):
    return replace(model, dict(select=lambda n: n.endswith(".bias")))


def case(name, seed, method, **more):
    return {**dict(name=f"bert_{name}", base="bert_classes_lora", batch=(3, 9), lengths=(9, 5, 7), types=True, labels=3, seed=seed,
                   method=method), **more}


def of_peft(config, **arguments):
    return PeftMethod(config, task_type="SEQ_CLS", change=scaled, **arguments)


def own(attach, peft_type, **config):
    return OwnMethod(with_head(attach), peft_type=peft_type, task_type="SEQ_CLS", modules_to_save=["classifier", "score"], **config)


def wrapped_once(attach):
    """As with_head, for rows before the text: peft's names of the head are then those of a model that it wraps once."""
    both = with_head(attach)
    return lambda model, config: {n.replace("base_model.model.", "base_model."): made for n, made in both(model, config).items()}


def rows(peft_type="PROMPT_TUNING", **config):
    return OwnMethod(wrapped_once(cases_prompt.prompt), peft_type=peft_type, task_type="SEQ_CLS", num_virtual_tokens=3,
                     modules_to_save=["classifier", "score"], **config)


class PrefixFolder(PeftMethod):
    """A folder that peft writes, but does not train when it reads it, or does not run on that model."""

    def __init__(self, attach):
        super().__init__(peft.PrefixTuningConfig, task_type="SEQ_CLS", change=scaled, num_virtual_tokens=3)
        self.attach = attach

    def load(self, model, folder):
        return OwnMethod(wrapped_once(self.attach)).load(model, folder)


def link(position, links=("unified",)):
    return own(adalink, "ADALINK", r=3, links=list(links), position=position, dropout=0.0)


BERT = case("", 0, None)
MAPS = ["query", "value", "intermediate.dense", "output.dense"]


def relative(made, **more):
    """A case of LoRA's relatives, on this model."""
    return {**made, **{key: BERT[key] for key in ("base", "batch", "lengths", "types", "labels")}, **more}


def flop():
    return dict(method=own(cases_flop.attach, "FLOP", target_modules=["query", "key", "intermediate.dense"], k=6, sparsity=0.4, warmup=0.0,
                           lambda_rate=1.0, drop_init=0.5), differences=lambda n: n.endswith((".weight", ".bias")))


def library(name, seed, preset, **change):
    return case(name, seed, LibraryMethod(**{**preset, **change}))


# [CLS] 5, [SEP] 41: a pair, a single sentence, and a pair whose padding holds an id that would be special elsewhere.
PAIRS = [[5, 7, 8, 41, 30, 12, 6, 13, 41], [5, 9, 10, 11, 41, 0, 0, 0, 0], [5, 77, 41, 9, 9, 14, 41, 41, 5]]

CASES = [
    case("ia3", 2200, of_peft(peft.IA3Config)),  # "output.dense" is also the end of attention.output.dense
    case("ln", 2201, of_peft(peft.LNTuningConfig, target_modules=["LayerNorm"])),
    case("bitfit", 2202, own(biases, "BITFIT")),  # the pooler's among them
    case("pasta", 2203, own(pasta, "PASTA", num_special=3, special_token_ids=[5, 41], ablation="none", dropout=0.0, init="zero"),
         ids=PAIRS),
    case("adalink", 2204, link("pre_sum")),
    case("adalink_post_ln", 2205, link("post_ln")),
    case("adalink_tasks", 2235, link("pre_sum", ["qa", "nli"]), tasks=TASKS),
    {**case("", 2221, link("pre_sum")), "name": "electra_adalink", "base": "electra_classes_lora", "labels": 2},  # embeddings of 22, hidden 40
    case("head", 2231, own(lambda model, config: {}, "HEAD")),
    case("rslora", 2225, PeftMethod(peft.LoraConfig, task_type="SEQ_CLS", r=5, lora_alpha=3, use_rslora=True, init_lora_weights=False,
                                    target_modules=MAPS)),
    relative(cases_lora.dora_case("bert_dora", "", 2226, task_type="SEQ_CLS", r=3, lora_alpha=5, target_modules=MAPS)),
    relative(cases_lora.adalora_case("bert_adalora", "", 2234, 0.1, task_type="SEQ_CLS", init_r=4, target_r=2, target_modules=MAPS)),
    relative(cases_lora.vera_case("bert_vera", "", 2228, task_type="SEQ_CLS", r=5, target_modules=MAPS)),
    # At the others' alpha of 5 scores of attention grow until rounding to 16 bits alone moves gradients by a tenth.
    case("dylora", 2229, own(cases_lora.dylora, **{**cases_lora.DYLORA, "lora_alpha": 2}, target_modules=MAPS)),
    case("flop", 2230, **flop()),
    case("ptuning", 2232, rows("P_TUNING", encoder_hidden_size=7)),
    {**case("prefix", 2233, PrefixFolder(cases_prompt.prefix)), "base": "bert_value_full", "labels": 1},
    case("tiny_attention", 2217, own(cases_tiny_attention.attach, **cases_tiny_attention.method(2, 3, layer_norm=True))),
    case("prompt", 2218, rows()),
    case("residual_prompt", 2219, rows(residual_hidden_size=7)),
    {**case("", 2222, rows()), "name": "deberta_prompt",
     "base": "deberta_classes_lora", "types": False},
    {**case("", 2224, rows()), "name": "deberta_convolution_prompt",
     "base": "deberta_convolution", "types": False},
    {**case("", 2223, PrefixFolder(cases_prompt.prefix_of_runs)),
     "name": "albert_prefix", "base": "albert_classes_lora"},
    library("adapterdrop", 2220, PFEIFFER, leave_out=[0]),
    library("houlsby", 2210, HOULSBY),
    library("pfeiffer", 2211, PFEIFFER),
    library("parallel", 2212, PARALLEL),
    library("adapterplus", 2213, PLUS),
    library("compacter", 2214, COMPACTER, phm_dim=3),
    library("compacter_pp", 2215, COMPACTER, mh_adapter=False, original_ln_before=True, phm_dim=3, reduction_factor=5),
    library("post_add", 2216, HOULSBY, original_ln_before=True, residual_before_ln="post_add", ln_before=True, use_gating=True),
]
