"""Writes tests/golden/<case>/: tiny random models with what transformers and peft make of them in float64.

    python3 tools/golden/make_goldens.py [--out DIR] [--only CASE ...]

Cases are in cases.py, the file layout in tests/golden/README.md. The same versions give the same bytes.
"""
import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # peft writes sets; their order must not vary
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})

import cases
import cases_embeddings
import cases_encoder_methods
import cases_encoders
import cases_reft
import cases_union
from methods import PeftMethod, scores
from oracle import auto_class, exact, forward, load_model
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

CASES = cases.CASES + cases_encoders.CASES + cases_encoder_methods.CASES + cases_reft.CASES + cases_union.CASES \
    + cases_embeddings.CASES
ADAMW = dict(lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
STEPS = 2


def randomise(model):
    """Weights large enough that attention, norms and the softmax all matter."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, dtype=torch.float64)
            norm = "norm" in name.lower() or ".ln_" in name
            if name.endswith("bias"):
                p.copy_(0.1 * noise)
            elif norm:
                p.copy_(1 + 0.2 * noise)
            elif "embed" in name or ".wte." in name or ".wpe." in name:
                p.copy_(0.3 * noise)
            else:
                p.copy_(1.3 / (p[0].numel() if p.dim() > 2 else p.shape[-1]) ** 0.5 * noise)


def write_config(folder, case):
    config = case["config"]
    if case.get("modern"):
        config = dict(config)
        theta, scaling = config.pop("rope_theta"), config.pop("rope_scaling", None)
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta, **(scaling or {})}
        config["dtype"] = config.pop("torch_dtype")
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text)


def base_folder(folder, case):
    """Cases without a model of their own stand on that of another."""
    return folder.parent / case["base"] if "base" in case else folder


def write_model(folder, case):
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    model = auto_class(config).from_config(config).double()
    randomise(model)
    dtype = getattr(torch, case.get("store", "float32"))
    rename = case.get("rename", lambda name: name)
    tensors = {rename(n): t.to(dtype).contiguous().clone() for n, t in model.state_dict().items()}
    tensors.pop(None, None)
    if case.get("mask_buffers"):  # published GPT-2 files carry their causal masks
        n = config.n_positions
        for i in range(config.n_layer):
            tensors[f"h.{i}.attn.bias"] = torch.ones(n, n).tril().view(1, 1, n, n)
    if case.get("shards", 1) == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, count = sorted(tensors), case["shards"]
    where = {}
    for k in range(count):
        file = f"model-{k + 1:05}-of-{count:05}.safetensors"
        part = {n: tensors[n] for n in names[k * len(names) // count:(k + 1) * len(names) // count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        where.update(dict.fromkeys(part, file))
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = dict(metadata=dict(total_size=size), weight_map=dict(sorted(where.items())))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def encoder_batch(case, config):
    rows, length = case["batch"]
    lengths = torch.tensor(case["lengths"])
    real = torch.arange(length)[None, :] < lengths[:, None]
    ids = torch.tensor(case["ids"]) if "ids" in case \
        else torch.where(real, torch.randint(3, config.vocab_size, (rows, length)), config.pad_token_id)
    out = dict(ids=ids, lengths=lengths, attention_mask=real.long())
    task = config.architectures[0]
    if case.get("types"):
        out["types"] = (torch.arange(length)[None, :] >= (lengths[:, None] + 1) // 2).long()
    if task.endswith("ForMaskedLM"):
        labels = torch.randint(3, config.vocab_size, (rows, length))
        out["labels"] = torch.where(real & (torch.rand(rows, length) < 0.6), labels, -100)
    elif task.endswith("ForTokenClassification"):
        labels = torch.randint(0, case["labels"], (rows, length))
        out["labels"] = torch.where(real & (torch.rand(rows, length) < 0.8), labels, -100)
    elif task.endswith("ForQuestionAnswering"):
        out["labels"] = torch.tensor(case["spans"])
    elif task.endswith("ForMultipleChoice"):
        out["labels"] = torch.randint(0, case["choices"], (rows // case["choices"],))
    elif config.problem_type == "regression":
        out["values"] = torch.randn(rows, case["labels"], dtype=torch.float64).float()  # as the device gets them
    else:
        out["labels"] = torch.randint(0, case["labels"], (rows,))
    return out


def model_inputs(inputs):
    """What of a golden's inputs the model takes, by its own names."""
    more = {}
    if "attention_mask" in inputs:
        more["attention_mask"] = inputs["attention_mask"]
    if "types" in inputs:
        more["token_type_ids"] = inputs["types"]
    if "embeddings" in inputs:
        more["inputs_embeds"] = inputs["embeddings"].double()
    labels = inputs["values"].double() if "values" in inputs else inputs["labels"]
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return inputs.get("ids"), labels, more


def batch(case, config):
    if "lengths" in case:
        return encoder_batch(case, config)
    rows, length, padding = case["batch"]
    ids = torch.tensor(case["ids"]) if "ids" in case else torch.randint(3, config.vocab_size, (rows, length))
    labels = ids.clone()
    labels[0, :2] = -100  # a prompt that is not learned
    if case.get("skip_first"):  # with rows before it even the first token would be predicted
        labels[:, 0] = -100
    if rows > 1 and padding:
        ids[-1, length - padding:] = config.eos_token_id
        labels[-1, length - padding:] = -100
    if case.get("embeddings"):
        numbers = 0.3 * torch.randn(rows, length, config.hidden_size, dtype=torch.float64)
        return dict(embeddings=numbers.float(), labels=labels)  # as the device gets them
    return dict(ids=ids, labels=labels)


def check_gradients(model, named, inputs, case):
    """Central differences at the largest entry of the first and last tensor, of those whose gradient is the loss's."""
    exact = [n for n in named if case.get("differences", bool)(n)]
    for name in (exact[0], exact[-1]):
        p = named[name]
        at, step = p.grad.abs().argmax(), 1e-5
        losses = []
        with torch.no_grad():
            for sign in (1, -1):
                p.view(-1)[at] += sign * step
                losses.append(forward(model, *inputs[:2], **inputs[2]).loss.item())
                p.view(-1)[at] -= sign * step
        ours, diff = p.grad.view(-1)[at].item(), (losses[0] - losses[1]) / (2 * step)
        if abs(ours - diff) > 1e-7 * abs(ours) + 1e-10:
            sys.exit(f"make_goldens: {case['name']}: d loss / d {name} is {ours:.12g}, differences say {diff:.12g}")


def generate(folder, case, prompt):
    """What peft's own generate makes of the case's adapter, greedily and past any end of text; and the logits before each id."""
    model = load_model(base_folder(folder, case))
    if hasattr(case.get("method"), "generate"):
        return case["method"].generate(model, folder / "adapter", prompt, case["generate"])
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    config = peft.PeftConfig.from_pretrained(folder / "adapter")
    config.task_type = "CAUSAL_LM"
    model = peft.PeftModelForCausalLM.from_pretrained(model, folder / "adapter", config=config,
                                                      autocast_adapter_dtype=False).double().eval()
    with exact():
        result = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=case["generate"],
                                do_sample=False, output_logits=True, return_dict_in_generate=True)
    return dict(prompt=prompt, generated=result.sequences[:, prompt.shape[1]:], generated_logits=torch.stack(result.logits, 1))


def write_golden(folder, case, method, seed):
    model = load_model(base_folder(folder, case))
    config = model.config
    if method:
        model, named = method.load(model, folder / "adapter")
        stored = load_file(folder / "adapter" / method.weights)
        if any(not torch.equal(stored[n].double(), p) for n, p in named.items()):
            sys.exit(f"make_goldens: {case['name']}: the adapter is not loaded as it was saved")
    else:
        named = dict(model.named_parameters())
    out = batch(case, config)
    inputs = model_inputs(out)
    out.pop("attention_mask", None)
    if "tasks" in case:
        out["tasks"] = torch.tensor(case["tasks"])
    scores.clear()
    optimiser = torch.optim.AdamW(list(named.values()), **ADAMW)
    for step in range(STEPS):
        optimiser.zero_grad()
        result = forward(model, *inputs[:2], **inputs[2])
        result.loss.backward()
        if step == 0:
            penalty = case["penalty"](named) if "penalty" in case else 0  # part of the gradients, not of the loss we report
            out["logits"], out["loss"] = result.logits.detach().clone(), (result.loss.detach() - penalty).view(1).clone()
            out.update({f"grad.{n}": p.grad.clone() for n, p in named.items()}, **scores)
            check_gradients(model, named, inputs, case)
        optimiser.step()
    out.update({f"param2.{n}": p.detach().clone() for n, p in named.items()})
    if "generate" in case:
        out.update(generate(folder, case, inputs[0][:1, :4].clone()))
    if any(t.is_floating_point() and t.dtype != torch.float64 for n, t in out.items()
           if n not in ("values", "embeddings")):
        sys.exit(f"make_goldens: {case['name']}: a result is not float64")
    meta = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__,
                seed=seed, adamw=ADAMW, steps=STEPS)
    save_file({n: t.contiguous() for n, t in out.items()}, folder / "golden.safetensors",
              metadata={"golden": json.dumps(meta, sort_keys=True)})
    count = sum(p.numel() for p in named.values())
    print(f"{case['name']:28} loss {out['loss'].item():.6f}  {len(named):3} trainable tensors, {count} values")


def write_sums(root):
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name not in ("SHA256SUMS", "README.md"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}\n" for p in files]
    (root / "SHA256SUMS").write_text("".join(lines))
    print(f"{len(files)} files, {sum(p.stat().st_size for p in files)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here.parents[1] / "tests" / "golden")
    parser.add_argument("--only", metavar="CASE", nargs="+", help="write these cases alone")
    args = parser.parse_args()
    unknown = set(args.only or ()) - {c["name"] for c in CASES}
    if unknown:
        sys.exit(f"make_goldens: no case is called {', '.join(sorted(unknown))}")
    for case in CASES:
        if not args.only or case["name"] in args.only:
            torch.manual_seed(case["seed"])
            folder = args.out / case["name"]
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if "config" in case:
                write_config(folder, case)
                write_model(folder, case)
            method = PeftMethod(peft.LoraConfig, **{"init_lora_weights": False, **case["lora"]}) if case.get("lora") \
                else case.get("method")
            if method:
                base = case.get("base", case["name"])
                method.write(load_model(base_folder(folder, case)), folder / "adapter", base)
            write_golden(folder, case, method, case["seed"])
    write_sums(args.out)


if __name__ == "__main__":
    main()
