"""Token embeddings of the Adapters library: what its save_embeddings wrote, with logits, loss, gradients and two AdamW steps of them alone.
No base here has a tokenizer: all rows are new."""
import shutil
from pathlib import Path

from library import inputs, load, write_golden
import torch
import transformers

# (name, base, seed, whether a map into the vocabulary is tied to them)
EMBEDDINGS = [
    ("embeddings_bert", "bert_classes_lora", 2490, False),
    ("embeddings_llama", "llama_tied_rope_scaling", 2491, True),
]


def write_embeddings(root, name, base, seed, tied):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = load(root / base)
    tokenizer = transformers.BertTokenizer.from_pretrained(root / "tokenizers" / "bert_uncased_txt")
    model.add_embeddings("trained", tokenizer)
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_((0.3 * torch.randn(weight.shape)).float())
    weight.data = weight.data.float()
    model.save_embeddings(str(folder / "adapter"), "trained", tokenizer)
    model.double()
    if tied:
        model.tie_weights()  # set_active_embeddings leaves this to the caller
    for n, p in model.named_parameters():
        p.requires_grad = p is weight
    out = inputs(model.config, type(model).__name__, dict(config=None, change={}, head=None))
    write_golden(folder, name, seed, model, dict(weight=weight), out, base=base)
