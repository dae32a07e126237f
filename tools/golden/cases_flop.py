"""FLOP (Wang et al. 2020): a map becomes ((x P) * z) Q + b. Outside of training z is what stays open of the hard concrete gates.
The penalty on their sparsity is added to the gradients of log_alpha; lambda moves against its own."""
import math

import torch
from methods import OwnMethod

BETA, LOW, HIGH, SOFT = 1.0, -0.1, 1.1, 0.8
# The device has these as f32.
LOW32, HIGH32, SOFT32 = (torch.tensor(v, dtype=torch.float32).double().item() for v in (LOW, HIGH, SOFT))


def probability(alpha):
    return torch.sigmoid(alpha - BETA * math.log(-LOW32 / HIGH32))


def gates(alpha):
    closed = round(alpha.numel() - probability(alpha).sum().item())
    z = torch.sigmoid(SOFT32 * alpha / BETA)
    mask = torch.ones_like(z)
    mask[alpha.detach().argsort(stable=True)[:closed]] = 0
    return z * mask


def attach(model, config):
    made, targets = {}, []
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not path.endswith(tuple(config["target_modules"])) or weight is None:
            continue
        in_first = type(module).__name__ == "Conv1D"
        inputs, outputs = weight.shape if in_first else weight.shape[::-1]
        k = config["k"]
        shapes = {"P.weight": (inputs, k), "Q.weight": (k, outputs), "bias": (outputs,), "log_alpha": (k,)}
        p = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in shapes.items()}
        targets.append((p["log_alpha"], inputs + outputs))
        values = {n: 0.3 * torch.randn_like(v) for n, v in p.items()} | {"log_alpha": 2 * torch.rand(k, dtype=torch.float64) - 1}
        made.update({f"base_model.model.{path}.{n}": (p[n], values[n]) for n in shapes})
        module.register_forward_hook(lambda module, x, y, p=p:
                                     ((x[0] @ p["P.weight"]) * gates(p["log_alpha"])) @ p["Q.weight"] + p["bias"])
    total = sum(size * a.numel() for a, size in targets)
    multipliers = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    made["base_model.model.flop.lambda"] = (multipliers, torch.tensor([0.3, 0.7], dtype=torch.float64))

    def closed():
        """Of copies: a hook that asked for a gradient of what it hangs on would call itself."""
        copies = [a.detach().clone().requires_grad_(True) for a, _ in targets]
        return 1 - sum(probability(a).sum() * size for a, (_, size) in zip(copies, targets)) / total, copies

    def of_alpha(index):
        def hook(gradient):
            with torch.enable_grad():
                share, copies = closed()
                off = share - config["sparsity"]
                penalty = multipliers[0].detach() * off + multipliers[1].detach() * off**2
                return gradient + torch.autograd.grad(penalty, copies[index])[0]
        return hook

    def of_lambda(gradient):
        off = closed()[0].detach() - config["sparsity"]
        return torch.stack([-off, -off**2])

    for i, (a, _) in enumerate(targets):
        a.register_hook(of_alpha(i))
    multipliers.register_hook(of_lambda)
    # So that it has a gradient to replace.
    model.get_input_embeddings().register_forward_hook(lambda module, x, y: y + 0 * multipliers.sum())
    return made


def case(name, seed, base, targets, k):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, differences=lambda n: n.endswith((".weight", ".bias")),
                method=OwnMethod(attach, peft_type="FLOP", target_modules=targets, k=k, sparsity=0.4, warmup=0.0, lambda_rate=1.0,
                                 drop_init=0.5))


CASES = [case("flop_fused", 2315, "llama_lora", ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"], 3),
         case("flop_llama", 2310, "llama_lora", ["q_proj", "v_proj", "down_proj"], 6),
         case("flop_gpt2", 2311, "gpt2_lora", ["c_attn", "mlp.c_fc"], 9)]
