"""How a golden case gets its adapter. A method has

    write(model, folder, base)  an adapter that changes something, as adapter_config.json and adapter_model.safetensors
    load(model, folder)         (model with it, {name as on disk: parameter}), everything else frozen

PeftMethod is peft's own implementation. OwnMethod is for methods that peft lacks: a readable double-precision reference,
written as hooks on a transformers model.
"""
import json

import peft
import torch
from oracle import load_adapter
from safetensors.torch import load_file, save_file


scores = {}  # what each gate gave in the newest forward pass


def keep_scores(gate, means):
    """means: [rows, outputs]; a gate of several outputs has a name for each."""
    many = means.shape[1] > 1
    scores.update({f"score.{gate}{f'.{i}' if many else ''}": means[:, i].detach().clone() for i in range(means.shape[1])})
    return means


def config_text(config):
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


class PeftMethod:
    """config: a class of peft; arguments: its own. Values start as peft makes them; `change(name, tensor)` gives those that
    would start as a no-op others. `frozen`: names in the file that are not trained."""

    weights = "adapter_model.safetensors"

    def __init__(self, config, task_type="CAUSAL_LM", change=None, frozen=(), **arguments):
        self.config, self.task_type, self.change, self.arguments = config, task_type, change, arguments
        self.frozen = set(frozen)

    def write(self, model, folder, base):
        model.__dict__["name_or_path"] = base  # no machine path in adapter_config.json
        config = self.config(task_type=self.task_type, **self.arguments)
        model = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if not p.requires_grad:
                    continue
                if "modules_to_save" in name or name.endswith("bias"):
                    p.add_(0.05 * torch.randn_like(p))  # an adapter that changed them
                elif self.change:
                    p.copy_(self.change(name, p))
        model.float().save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)

    def load(self, model, folder):
        model = load_adapter(model, folder, trainable=True)
        for name, p in model.named_parameters():
            if ".ranknum." in name:  # AdaLoRA's constant, which loading makes trainable
                p.requires_grad_(False)
        by_address = {p.data_ptr(): p for p in model.parameters() if p.requires_grad}
        state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
        named = {n: by_address.pop(t.data_ptr()) for n, t in state.items() if t.data_ptr() in by_address}
        if by_address:
            raise SystemExit(f"make_goldens: {len(by_address)} trainable tensors are missing from the adapter file")
        if set(state) - set(named) != self.frozen:
            raise SystemExit(f"make_goldens: frozen tensors in the adapter file: {sorted(set(state) - set(named))}")
        return model, named


class OwnMethod:
    """attach(model, config) installs the method's hooks and returns {name on disk: (parameter, value)}, value a tensor that
    the adapter is written with."""

    weights, base_key = "adapter_model.safetensors", "base_model_name_or_path"

    def __init__(self, attach, **config):
        self.attach, self.config = attach, config

    def write(self, model, folder, base):
        config = {**self.config, self.base_key: base}
        made = self.attach(model, config)
        folder.mkdir(parents=True)
        save_file({n: value.float().contiguous() for n, (_, value) in made.items()}, folder / self.weights,
                  metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(config_text(config))

    def load(self, model, folder):
        for p in model.parameters():
            p.requires_grad_(False)
        config = json.loads((folder / "adapter_config.json").read_text())
        stored = load_file(folder / self.weights)
        named = {}
        for name, (parameter, _) in self.attach(model, config).items():
            with torch.no_grad():
                parameter.copy_(stored[name].double())
            if isinstance(parameter, torch.nn.Parameter):  # else it is saved, but not trained
                named[name] = parameter.requires_grad_(True)
        return model, named
