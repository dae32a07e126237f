"""Compositions as the Adapters library computes them: a folder that its save_adapter_setup wrote, with logits, loss, gradients and two
AdamW steps of the adapter "trained" in it; the others stand still."""
import shutil

from library import inputs, load, write_golden
from adapters.methods.modeling import BertFusion
from adapters.composition import Average, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack
import adapters
import torch

HOULSBY = dict(a=adapters.DoubleSeqBnConfig(reduction_factor=5), trained=adapters.DoubleSeqBnConfig(reduction_factor=9, scaling=2.0),
               b=adapters.DoubleSeqBnConfig(reduction_factor=3, non_linearity="tanh"))
PFEIFFER = dict(a=adapters.SeqBnConfig(reduction_factor=5), trained=adapters.SeqBnConfig(reduction_factor=9, non_linearity="gelu"))
MTL = dict(r=3, alpha=4, init_weights="bert")
SQUARE = dict(attn_matrices=["q"])  # Llama's values are narrower than what a second LoRA would take
LORA = dict(a=adapters.LoRAConfig(r=3, alpha=5), trained=adapters.LoRAConfig(r=2, alpha=3, attn_matrices=["k", "v"]),
            b=adapters.LoRAConfig(r=4, alpha=2, use_gating=True))

# (name, base, seed, configurations by name, setup, tasks of the rows)
COMPOSITIONS = [
    ("composition_stack", "bert_classes_lora", 2470, PFEIFFER, Stack("a", "trained"), None),
    ("composition_stack_lora", "bert_classes_lora", 2471, LORA, Stack("a", "trained", "b"), None),
    ("composition_stack_llama", "llama_lora", 2472, dict(a=adapters.LoRAConfig(r=3, alpha=5, **SQUARE),
                                                         trained=adapters.LoRAConfig(r=2, alpha=3, **SQUARE)),
     Stack("trained", "a"), None),
    ("composition_split", "bert_classes_lora", 2473, HOULSBY, Split("a", "trained", "b", splits=[4, 3, 2]), None),
    ("composition_batchsplit", "bert_classes_lora", 2474, HOULSBY,
     BatchSplit(Stack("a", "b"), "trained", batch_sizes=[1, 2]), None),
    ("composition_batchsplit_lora", "bert_classes_lora", 2475, dict(LORA, trained=adapters.LoRAConfig(r=2, alpha=3), b=adapters.LoRAConfig(r=4, alpha=2)),
     BatchSplit("b", "trained", "a", batch_sizes=[1, 1, 1]), None),
    ("composition_multitask", "bert_classes_lora", 2476, HOULSBY, MultiTask("trained", "b"), [1, 0, 1]),
    ("composition_multitask_mtl", "bert_classes_lora", 2486, dict(a=adapters.MTLLoRAConfig(n_up_projection=3, **MTL),
                                                                trained=adapters.MTLLoRAConfig(n_up_projection=2, **MTL)),
     MultiTask("a", "trained"), [1, 0, 1]),
    ("composition_average", "bert_classes_lora", 2477, HOULSBY, Average("a", "trained", weights=[3, 1]), None),
    ("composition_average_lora", "llama_lora", 2478, dict(a=adapters.LoRAConfig(r=3, alpha=5), trained=adapters.LoRAConfig(r=2, alpha=3)),
     Average("a", "trained", weights=[1, 3]), None),
    ("composition_nested", "llama_lora", 2479, dict(HOULSBY, c=adapters.DoubleSeqBnConfig(reduction_factor=6)),
     Stack(BatchSplit("a", "trained", batch_sizes=[1, 1]), Average("b", "c")), None),
    ("composition_parallel", "bert_classes_lora", 2481, dict(a=adapters.DoubleSeqBnConfig(reduction_factor=5, leave_out=[0]),
                                                           trained=adapters.DoubleSeqBnConfig(reduction_factor=9, leave_out=[0])),
     Parallel("a", "trained"), None),
    ("composition_parallel_llama", "llama_lora", 2482, HOULSBY, Parallel(Stack("a", "b"), "trained"), None),
    ("composition_parallel_lora", "bert_classes_lora", 2483, dict(LORA, trained=adapters.LoRAConfig(r=2, alpha=3)), Parallel("trained", "a"), None),
    ("composition_prefix", "gpt2_lora", 2484, dict(a=adapters.PrefixTuningConfig(prefix_length=3, bottleneck_size=7),
                                                       trained=adapters.PrefixTuningConfig(prefix_length=3, bottleneck_size=5)),
     BatchSplit("a", "trained", batch_sizes=[1, 1]), None),
    ("composition_fuse", "bert_classes_lora", 2480, dict(PFEIFFER, b=adapters.SeqBnConfig(reduction_factor=3)),
     Stack(Fuse("a", "b"), "trained"), None),
    ("composition_fuse_stack", "bert_classes_lora", 2485, dict(HOULSBY, c=adapters.DoubleSeqBnConfig(reduction_factor=7, scaling=0.5),
                                                             d=adapters.DoubleSeqBnConfig(reduction_factor=4, leave_out=[1])),
     Stack(Fuse(Stack("trained", "d", "a"), "b", Stack("c", "trained")), "d"), None),
]


fuse = BertFusion.forward


def fuse_and_keep(self, query, key, value, residual, output_attentions=False):
    context, shares = fuse(self, query, key, value, residual, output_attentions=True)
    self.shares = torch.tensor(shares)
    return (context, shares) if output_attentions else context


BertFusion.forward = fuse_and_keep


def fusion_scores(model):
    """How much of each adapter every token took in the forward pass before."""
    return {f"score.{n}": m.shares for n, m in model.named_modules() if isinstance(m, BertFusion)}


def write_composition(root, name, base, seed, configs, setup, tasks):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model = load(root / base)
    for adapter in sorted(setup.flatten()):
        model.add_adapter(adapter, config=configs[adapter])
    for child in setup:
        if isinstance(child, Fuse):
            model.add_adapter_fusion(child.name)  # of a stack its last one is fused
    with torch.no_grad():
        for n, p in model.named_parameters():
            if any(part in n for part in (".adapters.", ".loras.", ".adapter_fusion_layer.", ".prefix_tunings.")):
                scale = 0.05 if ".query." in n or ".key." in n or n.endswith(".weights") else 0.2
                p.copy_((scale * torch.randn_like(p)).float().double())  # as files have it
    for p in model.parameters():
        p.data = p.data.float()
    # A prefix shares tensors, which safetensors refuses.
    safe = not any(isinstance(config, adapters.PrefixTuningConfig) for config in configs.values())
    model.save_adapter_setup(str(folder), setup, use_safetensors=safe)
    for head in folder.glob("*/*head*"):  # that of the base, which is not trained
        head.unlink()
    model.double()
    model.set_active_adapters(setup)
    # The library's files have prefixes once more for each layer.
    named = {n: p for n, p in model.named_parameters(remove_duplicate=False) if ".trained." in n and ".pool." not in n}
    for p in model.parameters():
        p.requires_grad = any(p is one for one in named.values())
    out = inputs(model.config, type(model).__name__, dict(config=None, change={}, head=None))
    if tasks:
        out["tasks"] = torch.tensor(tasks)
    scores = {}

    def keep(gate):  # a number for each sequence
        def hook(module, inputs, output):
            scores[f"score.{gate}"] = torch.sigmoid(output).mean(1)[:, 0].detach().clone()
        return hook

    for n, m in model.named_modules():
        if n.endswith(".gate"):
            m.register_forward_hook(keep(n))
    write_golden(folder, name, seed, model, named, out, more=lambda: {**scores, **fusion_scores(model)})
