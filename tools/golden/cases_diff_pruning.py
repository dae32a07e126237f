"""Diff pruning (Guo et al. 2021): every weight is W0 + z * delta, z the hard concrete gates of alpha, of which nothing is drawn
here; structured: times the gate of one alpha for the whole tensor. The penalty on open gates is added to the gradients of alpha."""
import math

import torch
from methods import OwnMethod

LOW, HIGH = -1.5, 1.5


def gate(alpha):
    return (torch.sigmoid(alpha) * (HIGH - LOW) + LOW).clamp(0, 1)


def attach(model, config):
    made, places = {}, {}
    penalty = torch.tensor(config["penalty"], dtype=torch.float32).double().item()
    for name, module in model.named_modules():
        for key, p in module._parameters.items():
            if p is not None:
                places.setdefault(id(p), []).append((module, key, f"{name}.{key}", p))
    pairs = []
    for uses in places.values():
        base, name = uses[0][3].detach(), uses[0][2]
        delta, alpha = (torch.nn.Parameter(torch.zeros_like(base)) for _ in range(2))
        made[f"base_model.model.{name}.delta"] = (delta, 0.05 * torch.randn_like(base))
        made[f"base_model.model.{name}.log_alpha"] = (alpha, 3 * torch.rand_like(base) - 1)

        group = torch.nn.Parameter(torch.zeros(1, dtype=base.dtype))
        if config["structured"]:
            made[f"base_model.model.{name}.group_log_alpha"] = (group, 0.2 + 0.7 * torch.rand_like(group))

        def penalise(alpha):
            def hook(gradient):
                p = torch.sigmoid(alpha.detach() - math.log(-LOW / HIGH))
                return gradient + penalty * p * (1 - p)
            alpha.register_hook(hook)

        penalise(alpha)
        penalise(group)
        pairs.append((uses, base, delta, alpha, group))

    def renew(module, arguments, keywords):
        for uses, base, delta, alpha, group in pairs:
            z = gate(alpha) * (gate(group) if config["structured"] else 1)
            for owner, key, _, _ in uses:
                owner._parameters.pop(key, None)
                setattr(owner, key, base + z * delta)

    model.register_forward_pre_hook(renew, with_kwargs=True)
    return made


def case(name, seed, base, structured=False, **more):
    return dict(name=name, base=base, seed=seed, differences=lambda n: n.endswith(".delta"),
                method=OwnMethod(attach, peft_type="DIFFPRUNE", target_sparsity=0.005, penalty=0.002, prune_at=0.5, alpha_init=5.0,
                                 alpha_rate=1.0, structured=structured), **more)


CASES = [case("diff_pruning_llama", 2320, "llama_full", batch=(2, 7, 0)),
         case("diff_pruning_structured", 2330, "bert_masked_full", structured=True, batch=(2, 8), lengths=(8, 5), types=True)]
