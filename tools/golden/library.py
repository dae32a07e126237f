"""Models as the Adapters library has them, in float64; shared by the scripts of this folder that need that library."""
import json
from pathlib import Path

from oracle import exact
import adapters
import adapters.models.llama.modeling_llama as llama
import torch
import transformers
from safetensors.torch import save_file

ADAMW = dict(lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
STEPS = 2

# Before 1.3.0 the library's Llama transposes what transformers' attention has transposed already, so that heads and positions
# are mixed, with or without an adapter. Once more, and it is Llama again.
attention = llama.eager_attention_forward


def transposed(*arguments, **more):
    output, weights = attention(*arguments, **more)
    return output.transpose(1, 2), weights


if adapters.__version__ < "1.3":
    llama.eager_attention_forward = transposed


def load(folder, kind=None):
    """kind: its class, by default the one that config.json names."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = kind or getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(folder, torch_dtype=torch.float64, attn_implementation="eager", local_files_only=True)
    with exact():
        for module in model.modules():
            if hasattr(module, "inv_freq"):
                module.inv_freq = type(module)(module.config).inv_freq
    if kind.__module__.startswith("transformers."):
        adapters.init(model)
    model.config.name_or_path = Path(folder).name  # no machine path in adapter_config.json
    return model.eval()


def inputs(config, task, case):
    if task.endswith("ForSequenceClassification"):
        # In the library's DeBERTa the rows of a prompt see padding, and what becomes of padding, which gates average too, is
        # DeBERTa's own: no row here has any.
        looks = case["config"] is adapters.PromptTuningConfig or case["change"].get("use_gating")
        whole = config.model_type == "deberta-v2" and looks
        lengths = torch.tensor([9, 9, 9] if whole else [9, 5, 7])
        real = torch.arange(9)[None, :] < lengths[:, None]
        ids = torch.where(real, torch.randint(3, config.vocab_size, (3, 9)), config.pad_token_id)
        types = (torch.arange(9)[None, :] >= (lengths[:, None] + 1) // 2).long()
        labels = torch.randint(0, config.num_labels, (3,))
        return dict(ids=ids, lengths=lengths, labels=labels, **(dict(types=types) if config.type_vocab_size else {}))
    options = case["head"][1] if isinstance(case["head"], tuple) else {}
    if options.get("head_type") == "question_answering":
        return dict(ids=torch.randint(3, config.vocab_size, (3, 7)), labels=torch.tensor([[0, 3], [5, 6], [7, 9]]))
    if options.get("head_type") == "multiple_choice":
        return dict(ids=torch.randint(3, config.vocab_size, (6, 7)), labels=torch.tensor([2, 0]))
    ids = torch.randint(3, config.vocab_size, (2, 7))
    if "num_labels" in options:
        return dict(ids=ids, labels=torch.randint(0, options["num_labels"], (2,)))
    labels = ids.clone()
    labels[0, :2] = -100
    return dict(ids=ids, labels=labels)


def logits_of(result):
    return torch.stack([result.start_logits, result.end_logits], -1) if "start_logits" in result else result.logits


def forward(model, out):
    encoder = model.config.model_type in ("bert", "albert")
    more = {} if encoder else dict(use_cache=False)
    if "lengths" in out:
        more = dict(attention_mask=(torch.arange(out["ids"].shape[1])[None, :] < out["lengths"][:, None]).long(),
                    **(dict(token_type_ids=out["types"]) if "types" in out else {}))
    if "tasks" in out:
        more["task_ids"] = out["tasks"]
    with exact():
        result = model(input_ids=out["ids"], **more)
    spans, labels = "start_logits" in result, out["labels"]
    logits = logits_of(result)

    def loss(logits):
        if spans:
            return torch.nn.functional.cross_entropy(logits, labels.clamp(max=logits.shape[1]), ignore_index=logits.shape[1])
        if logits.dim() == 3 and encoder:  # masked tokens
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        if logits.dim() == 3:
            return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return torch.nn.functional.cross_entropy(logits, labels)
    return logits, sum(loss(copy) for copy in logits.split(len(labels)))  # copies: of the batch, under Parallel


def write_golden(folder, name, seed, model, named, out, penalty=lambda: None, more=dict, **said):
    """Logits, loss, gradients of named, what more() gives, and named after two AdamW steps, into out and with it into a file.
    penalty: what is added to the loss for its gradients. said: what else the file says about itself."""
    optimiser = torch.optim.AdamW(list(named.values()), **ADAMW)
    for step in range(STEPS):
        optimiser.zero_grad()
        logits, loss = forward(model, out)
        added = penalty()
        (loss if added is None else loss + added).backward()
        if step == 0:
            out["logits"], out["loss"] = logits.detach().clone(), loss.detach().view(1).clone()
            out.update({f"grad.{n}": p.grad.clone() for n, p in named.items()}, **more())
        optimiser.step()
    out.update({f"param2.{n}": p.detach().clone() for n, p in named.items()})
    meta = dict(torch=torch.__version__, transformers=transformers.__version__, adapters=adapters.__version__, seed=seed,
                adamw=ADAMW, steps=STEPS, **said)
    save_file({n: t.contiguous() for n, t in out.items()}, folder / "golden.safetensors",
              metadata={"golden": json.dumps(meta, sort_keys=True)})
    count = sum(p.numel() for p in named.values())
    print(f"{name:28} loss {out['loss'].item():.6f}  {len(named):3} trainable tensors, {count} values")
