"""Writes the cases of tests/golden that the Adapters library itself made: its folders, and what it makes of them in float64;
in heads/ its head folders with logits, in generation/ what its generation gives with a cache.

    python3 tools/golden/make_library_goldens.py [--out DIR] [--only CASE ...]

Needs adapters 1.2.0 and the transformers that it is written for (4.51.3), for CASES_1_3 adapters 1.3.0 and 4.57.6, so it is a
script of its own; which cases are made goes by the version that is there. Bases are the models of other cases, layout as in
make_goldens.py, names as in the library's files.
"""
import argparse
import shutil
from pathlib import Path

from library import inputs, load, logits_of, write_golden
from library_embeddings import EMBEDDINGS, write_embeddings
from library_compositions import COMPOSITIONS, fusion_scores, write_composition
from oracle import exact
import adapters
import torch
import transformers
from safetensors.torch import save_file

LORA = dict(r=3, alpha=5)
CAUSAL = dict(head_type="causal_lm", layers=2, activation_function="gelu")  # a flexible head


def case(name, base, seed, config, safe=False, head=None, **change):
    """head: None: none is trained; "static": that of the base's class; (class, options): a flexible one."""
    return dict(name=name, base=base, seed=seed, config=config, safe=safe, head=head, change=change)


CASES = [
    case("library_lora_bert", "bert_classes_lora", 2400, adapters.LoRAConfig, attn_matrices=["q", "k"], output_lora=True,
         **{**LORA, "alpha": 2}),  # at 5 scores of attention grow until rounding to 16 bits moves gradients by a tenth
    case("library_lora_left_out", "bert_classes_lora", 2401, adapters.LoRAConfig, leave_out=[0], intermediate_lora=True,
         selfattn_lora=False, **LORA),
    case("library_lora_llama", "llama_lora", 2402, adapters.LoRAConfig, safe=True, attn_matrices=["q", "k", "v"],
         intermediate_lora=True, **LORA),
    case("library_lora_fused", "gpt2_lora", 2404, adapters.LoRAConfig, attn_matrices=["q", "v"], **LORA),
    case("library_lora_fused_gated", "gpt2_lora", 2405, adapters.LoRAConfig, attn_matrices=["k", "v"], use_gating=True, **LORA),
    case("library_mtl_lora", "bert_classes_lora", 2406, adapters.MTLLoRAConfig, n_up_projection=3, attn_matrices=["q", "v"],
         intermediate_lora=True, init_weights="bert", **LORA),
    case("library_mtl_lora_gated", "bert_classes_lora", 2407, adapters.MTLLoRAConfig, attn_matrices=["k"], use_gating=True,
         init_weights="bert", leave_out=[0], **LORA),
    case("library_prompt_first", "bert_classes_lora", 2420, adapters.PromptTuningConfig, prompt_length=2),
    case("library_prompt_behind", "bert_classes_lora", 2421, adapters.PromptTuningConfig, prompt_length=2, combine="prefix_after_bos"),
    case("library_prompt_electra", "electra_classes_lora", 2422, adapters.PromptTuningConfig, prompt_length=3),
    case("library_prompt_albert", "albert_classes_lora", 2423, adapters.PromptTuningConfig, prompt_length=2, combine="prefix_after_bos"),
    case("library_prompt_deberta", "deberta_classes_lora", 2424, adapters.PromptTuningConfig, prompt_length=3),
    case("library_prefix_deberta", "deberta_classes_lora", 2425, adapters.PrefixTuningConfig, prefix_length=3, bottleneck_size=7),
    case("library_prefix_deberta_gates", "deberta_classes_lora", 2426, adapters.PrefixTuningConfig, prefix_length=2, flat=True,
         use_gating=True, shared_gating=False),
    case("library_prefix_left_out", "gpt2_lora", 2427, adapters.PrefixTuningConfig, prefix_length=3, bottleneck_size=7, use_gating=True,
         leave_out=[0]),
    case("fused/library_lora_gpt2", "gpt2_lora", 2403, adapters.LoRAConfig, output_lora=True, **LORA),
    case("library_ia3_bert", "bert_classes_lora", 2410, adapters.IA3Config),
    case("library_ia3_llama", "llama_lora", 2411, adapters.IA3Config, safe=True, output_lora=True),
    case("fused/library_ia3_gpt2", "gpt2_lora", 2412, adapters.IA3Config),
    case("library_head_masked", "bert_masked_full", 2430, adapters.LoRAConfig, head="static", **LORA),
    case("library_head_masked_flexible", "albert_masked_full", 2431, adapters.LoRAConfig,
         head=(adapters.AlbertAdapterModel, dict(head_type="masked_lm", activation_function="relu")), **LORA),
    case("library_head_causal", "llama_lora", 2432, adapters.LoRAConfig,
         head=(adapters.LlamaAdapterModel, dict(CAUSAL, layer_norm=True, bias=True)), **LORA),
    case("library_head_classes", "llama_lora", 2433, adapters.LoRAConfig,
         head=(adapters.LlamaAdapterModel, dict(head_type="classification", layers=2, num_labels=3)), **LORA),
    case("library_head_pooler", "albert_classes_lora", 2434, adapters.LoRAConfig,
         head=(adapters.AlbertAdapterModel, dict(head_type="classification", layers=2, use_pooler=True, num_labels=3)), **LORA),
    case("library_head_spans", "bert_spans_lora", 2435, adapters.LoRAConfig,
         head=(adapters.BertAdapterModel, dict(head_type="question_answering", layers=2, activation_function="gelu")), **LORA),
    case("library_head_choices", "bert_choices_lora", 2436, adapters.LoRAConfig,
         head=(adapters.BertAdapterModel, dict(head_type="multiple_choice", num_choices=3, layers=2, activation_function="gelu")), **LORA),
]


def cases_1_3():
    """What adapters 1.3.0 brought: DoRA, and VeRA with it; its VeRA is that of 1.2.0."""
    dora, vera = adapters.DoRAConfig, adapters.VeraConfig
    return [
        case("library_dora_bert", "bert_classes_lora", 2440, dora, attn_matrices=["q", "v"], intermediate_lora=True, **LORA),
        case("library_dora_gated", "bert_classes_lora", 2441, dora, attn_matrices=["k", "v"], use_gating=True, **LORA),
        case("library_dora_llama", "llama_lora", 2442, dora, safe=True, attn_matrices=["q", "k"], output_lora=True, **LORA),
        case("library_vera_bert", "bert_classes_lora", 2443, vera, attn_matrices=["q", "k"], **LORA),
        case("library_vera_gated", "bert_classes_lora", 2449, vera, use_gating=True, leave_out=[0], **LORA),
        case("library_dvora_bert", "bert_classes_lora", 2445, adapters.DvoRAConfig, **LORA),
        case("library_lora_1_3", "bert_classes_lora", 2448, adapters.LoRAConfig, **LORA),
        case("library_ia3_1_3", "bert_classes_lora", 2447, adapters.IA3Config),
    ]


def trainable(model):
    """{name in the file: parameter}; the library's files have prefixes once more for each layer."""
    model.train_adapter("a")
    model.eval()
    return {head_name(model, n): p for n, p in model.named_parameters(remove_duplicate=False)
            if p.requires_grad and (".a." in n or n.startswith("cls.")) and ".pool." not in n}


def head_name(model, name):
    """Layers of a flexible head have names of Espalier's own: no folder of a model has them."""
    if not name.startswith("heads."):
        return name
    layers = [n for n, m in model.heads["a"].named_children() if any(True for _ in m.parameters())]
    ours = dict(zip(layers, {1: ["out"], 2: ["dense", "out"], 3: ["dense", "norm", "out"]}[len(layers)]))
    return "head.{}.{}".format(ours[name.split(".")[2]], name.split(".")[3])


def write(root, case):
    folder = root / case["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(case["seed"])
    flexible = case["head"] is not None and case["head"] != "static"
    model = load(root / case["base"], case["head"][0] if flexible else None)
    if flexible:
        model.add_prediction_head_from_config("a", dict(case["head"][1]))
    model.add_adapter("a", config=case["config"](**case["change"]))
    with torch.no_grad():
        for n, p in trainable(model).items():
            scaled = case["config"] is adapters.IA3Config
            # vera_B is as wide as the model; a softmax of weights / 0.05 that is all but one of them has gradients that cancel
            noise = (0.1 if n.endswith(".vera_B") else 0.03 if n.endswith(".weights") else 0.3) * torch.randn_like(p)
            p.copy_(1 + noise if scaled else noise)
            p.copy_(p.float().double())  # as files have it
    for p in trainable(model).values():
        p.data = p.data.float()
    if case["head"]:
        model.float()
    model.save_adapter(str(folder / "adapter"), "a", with_head=case["head"] is not None, use_safetensors=case["safe"])
    model.double()
    named = trainable(model)
    out = inputs(model.config, type(model).__name__, case)
    model.set_active_adapters("a")
    scores = {}

    def keep(name):  # a number for each sequence, of each gate of a map
        def hook(module, inputs, output):
            means = torch.sigmoid(output).mean(1).detach()
            scores.update({f"score.{name}{f'.{i}' if means.shape[1] > 1 else ''}": means[:, i].clone() for i in range(means.shape[1])})
        return hook

    for n, m in model.named_modules():
        if n.endswith((".a.gate", ".prefix_gates.a")):
            m.register_forward_hook(keep(n))
    write_golden(folder, case["name"], case["seed"], model, named, out, more=lambda: scores)


# AdapterFusion: (name, base, seed, configuration, adapters by name); members/ has the adapters that are fused.
FUSIONS = [
    ("fusion_bert", "bert_classes_lora", 2460, "dynamic", dict(a=adapters.SeqBnConfig(reduction_factor=5),
                                                              b=adapters.SeqBnConfig(reduction_factor=3, non_linearity="gelu"))),
    ("fusion_houlsby", "bert_classes_lora", 2461, "static", dict(a=adapters.DoubleSeqBnConfig(reduction_factor=5, scaling=2.0),
                                                                b=adapters.DoubleSeqBnConfig(reduction_factor=9),
                                                                c=adapters.DoubleSeqBnConfig(reduction_factor=3))),
    ("fusion_llama", "llama_lora", 2462, "dynamic", dict(a=adapters.SeqBnConfig(reduction_factor=4),
                                                        b=adapters.SeqBnConfig(reduction_factor=6, original_ln_before=False))),
]


def write_fusion(root, name, base, seed, config, members):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "members").mkdir(parents=True)
    torch.manual_seed(seed)
    model = load(root / base)
    for member, one in members.items():
        model.add_adapter(member, config=one)
    model.add_adapter_fusion(list(members), config)
    joined = ",".join(members)

    def trained():
        model.train_adapter_fusion([list(members)])
        model.eval()
        return {n: p for n, p in model.named_parameters() if p.requires_grad and f"adapter_fusion_layer.{joined}." in n}

    with torch.no_grad():
        for n, p in model.named_parameters():
            if ".adapters." in n or ".adapter_fusion_layer." in n:  # scores small enough that every adapter has a share
                scale = 0.05 if ".query." in n or ".key." in n else 0.2
                p.copy_((scale * torch.randn_like(p)).float().double())  # as files have it
    for p in model.parameters():
        p.data = p.data.float()
    for member in members:
        model.save_adapter(str(folder / "members" / member), member, with_head=False, use_safetensors=True)
    model.save_adapter_fusion(str(folder / "adapter"), joined, use_safetensors=config == "static")
    model.double()
    named = trained()
    out = inputs(model.config, type(model).__name__, dict(config=None, change={}, head=None))
    model.set_active_adapters(adapters.composition.Fuse(*members))
    write_golden(folder, name, seed, model, named, out, model.get_fusion_regularization_loss, lambda: fusion_scores(model))


# Heads: (name, base, class, head); None: the static head of the class, else how a flexible one is added.
HEADS = [
    ("bert_static", "bert_classes_lora", transformers.BertForSequenceClassification, None),
    ("bert_pooler", "bert_classes_lora", adapters.BertAdapterModel, dict(layers=1, use_pooler=True)),
    ("bert_two", "bert_classes_lora", adapters.BertAdapterModel, dict(layers=2)),
    ("roberta_two", "roberta_classes_lora", adapters.RobertaAdapterModel, dict(layers=2)),
    ("bert_tags", "bert_tags_lora", adapters.BertAdapterModel, dict(head_type="tagging", layers=1)),
    ("bert_masked", "bert_masked_full", adapters.BertAdapterModel, dict(head_type="masked_lm")),
    ("bert_masked_static", "bert_masked_full", transformers.BertForMaskedLM, None),
    ("llama_causal", "llama_lora", adapters.LlamaAdapterModel, dict(head_type="causal_lm", layers=1, bias=False)),
    ("bert_one", "bert_classes_lora", adapters.BertAdapterModel, dict(layers=1)),
    ("distilbert_two", "distilbert_classes_lora", adapters.DistilBertAdapterModel, dict(layers=2)),
    ("electra_two", "electra_classes_lora", adapters.ElectraAdapterModel, dict(layers=2)),
    ("albert_pooler_two", "albert_classes_lora", adapters.AlbertAdapterModel, dict(layers=2, use_pooler=True)),
    ("albert_masked", "albert_masked_full", adapters.AlbertAdapterModel, dict(head_type="masked_lm")),
    ("deberta_two", "deberta_classes_lora", adapters.DebertaV2AdapterModel, dict(layers=2, activation_function="relu")),
    ("gpt2_two", "gpt2_lora", adapters.GPT2AdapterModel, dict(layers=2)),
    ("llama_tags_two", "llama_lora", adapters.LlamaAdapterModel, dict(head_type="tagging", layers=2)),
    ("gpt2_causal_two", "gpt2_lora", adapters.GPT2AdapterModel, dict(CAUSAL, layer_norm=True, bias=True)),
    ("llama_causal_two", "llama_lora", adapters.LlamaAdapterModel, dict(CAUSAL, layer_norm=True, bias=True)),
    ("llama_causal_plain", "llama_lora", adapters.LlamaAdapterModel, dict(CAUSAL)),
    ("bert_spans", "bert_spans_lora", adapters.BertAdapterModel, dict(head_type="question_answering")),
    ("bert_spans_static", "bert_spans_lora", transformers.BertForQuestionAnswering, None),
    ("gpt2_spans_two", "gpt2_spans_full", adapters.GPT2AdapterModel, dict(head_type="question_answering", layers=2)),
    ("bert_choices", "bert_choices_lora", adapters.BertAdapterModel, dict(head_type="multiple_choice", num_choices=3, layers=1, use_pooler=True)),
    ("bert_choices_static", "bert_choices_lora", transformers.BertForMultipleChoice, None),
    ("bert_choices_one", "bert_choices_lora", adapters.BertAdapterModel, dict(head_type="multiple_choice", num_choices=3, layers=1)),
]


def write_head(root, name, base, kind, head):
    folder = root / "heads" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(2600 + [h[0] for h in HEADS].index(name))
    model = kind.from_pretrained(root / base, torch_dtype=torch.float64, attn_implementation="eager", local_files_only=True)
    config = transformers.AutoConfig.from_pretrained(root / base, local_files_only=True)
    labels = {i: f"name {i}" for i in range(config.num_labels)}
    if head is None:
        adapters.init(model)
        model.config.id2label, model.config.label2id = labels, {v: k for k, v in labels.items()}
    else:
        options = dict(dict(head_type="classification"), **head)
        if not options["head_type"].endswith(("_lm", "choice")):
            options.update(id2label=labels, num_labels=len(labels))
        model.add_prediction_head_from_config("h", options)
    model.config.name_or_path = base
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n.split(".")[0] in ("heads", "classifier", "cls", "qa_outputs"):
                p.data = 0.5 * torch.randn(p.shape)
    model.float()  # as files have it
    model.save_head(str(folder), "h")
    model.double().eval()
    choices = base == "bert_choices_lora"
    ids = torch.randint(3, model.config.vocab_size, (6 if choices else 2, 6))
    with exact():
        logits = logits_of(model(input_ids=ids.view(2, 3, 6) if choices else ids))
    save_file(dict(ids=ids, logits=logits.detach().contiguous()), folder / "golden.safetensors")
    print(f"heads/{name:22} {tuple(logits.shape)} logits")


# Generation: (name, base, configuration). Gates are means over what a pass is about: the prompt, then each new token alone.
GATED = dict(use_gating=True)
PREFIX = dict(prefix_length=3, bottleneck_size=7)
BOTTLENECK = dict(reduction_factor=8, **GATED)
GENERATION = [
    ("prefix_gpt2", "gpt2_lora", lambda: adapters.PrefixTuningConfig(**PREFIX)),
    ("gated_prefix_gpt2", "gpt2_lora", lambda: adapters.PrefixTuningConfig(flat=True, prefix_length=3, **GATED)),
    ("gated_union_gpt2", "gpt2_lora", lambda: adapters.ConfigUnion(adapters.PrefixTuningConfig(**PREFIX, **GATED),
                                                                   adapters.SeqBnConfig(**BOTTLENECK))),
    ("gated_lora_llama", "llama_lora", lambda: adapters.ConfigUnion(adapters.LoRAConfig(**LORA, **GATED),
                                                                    adapters.SeqBnConfig(**BOTTLENECK))),
    ("unipelt_gpt2", "gpt2_lora", lambda: adapters.ConfigUnion(adapters.PrefixTuningConfig(**PREFIX, **GATED),
                                                               adapters.SeqBnConfig(**BOTTLENECK), adapters.LoRAConfig(**LORA, **GATED))),
]


def write_generation(root, name, base, config):
    folder = root / "generation" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(2700 + [g[0] for g in GENERATION].index(name))
    model = load(root / base)
    model.add_adapter("a", config=config())
    for n, p in trainable(model).items():
        p.data = (0.3 * torch.randn(p.shape)).float()
    model.save_adapter(str(folder / "adapter"), "a", with_head=False)  # prefixes are shared, which safetensors refuses
    model.double().set_active_adapters("a")
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    prompt = torch.randint(3, model.config.vocab_size, (1, 5))
    with exact():
        result = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False,
                                use_cache=True, output_logits=True, return_dict_in_generate=True)
    save_file(dict(prompt=prompt, generated=result.sequences[:, prompt.shape[1]:].contiguous(),
                   generated_logits=torch.stack(result.logits, 1).contiguous()), folder / "golden.safetensors")
    print(f"generation/{name:22} {result.sequences[0].tolist()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "tests" / "golden")
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    newer = adapters.__version__ >= "1.3"
    for one in cases_1_3() if newer else CASES:
        if not arguments.only or one["name"] in arguments.only:
            write(arguments.out, one)
    if newer:
        return
    for fusion in FUSIONS:
        if not arguments.only or fusion[0] in arguments.only:
            write_fusion(arguments.out, *fusion)
    for composition in COMPOSITIONS:
        if not arguments.only or composition[0] in arguments.only:
            write_composition(arguments.out, *composition)
    for embeddings in EMBEDDINGS:
        if not arguments.only or embeddings[0] in arguments.only:
            write_embeddings(arguments.out, *embeddings)
    for head in HEADS:
        if not arguments.only or head[0] in arguments.only:
            write_head(arguments.out, *head)
    for one in GENERATION:
        if not arguments.only or one[0] in arguments.only:
            write_generation(arguments.out, *one)


if __name__ == "__main__":
    main()
