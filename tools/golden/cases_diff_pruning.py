"""Diff pruning (Guo et al. 2021): every weight is W0 + z * delta, z the hard concrete gates of alpha, of which nothing is drawn
here. The penalty on open gates is added to the gradients of alpha."""
import math

import torch
from methods import OwnMethod

LOW, HIGH = -1.5, 1.5


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

        def hook(gradient, alpha=alpha):
            p = torch.sigmoid(alpha.detach() - math.log(-LOW / HIGH))
            return gradient + penalty * p * (1 - p)

        alpha.register_hook(hook)
        pairs.append((uses, base, delta, alpha))

    def renew(module, arguments, keywords):
        for uses, base, delta, alpha in pairs:
            z = (torch.sigmoid(alpha) * (HIGH - LOW) + LOW).clamp(0, 1)
            for owner, key, _, _ in uses:
                owner._parameters.pop(key, None)
                setattr(owner, key, base + z * delta)

    model.register_forward_pre_hook(renew, with_kwargs=True)
    return made


def case(name, seed, base, **more):
    return dict(name=name, base=base, seed=seed, differences=lambda n: n.endswith(".delta"),
                method=OwnMethod(attach, peft_type="DIFFPRUNE", target_sparsity=0.005, penalty=0.002, prune_at=0.5, alpha_init=5.0,
                                 alpha_rate=1.0, structured=False), **more)


CASES = [case("diff_pruning_llama", 2320, "llama_full", batch=(2, 7, 0))]
