"""Where hooks of the references go: the blocks and sub-layers of transformers' models."""
import torch


class Sublayers:
    """replace(layer, place, f): the sub-layer's result, residual and following norm included, becomes f(o, x, norm): o its own
    output, x its residual input, norm the base's norm after the sum or None where the norm comes before."""

    def __init__(self, model):
        inner = getattr(model, "model", None) or getattr(model, "transformer", None)
        self.blocks = getattr(inner, "layers", None) or inner.h
        self.paths = {i: n for n, m in model.named_modules() for i, b in enumerate(self.blocks) if m is b}
        self.count = len(self.blocks)
        self.prefix = self.paths[0].split("layers.")[0].split("h.0")[0]
        self.inputs = {}

    def path(self, layer, place):
        return f"{self.paths[layer]}.{'attention' if place == 'attention' else 'output'}_adapters"

    def replace(self, layer, place, f):
        block = self.blocks[layer]
        attention = getattr(block, "self_attn", None) or getattr(block, "attn")
        norm = getattr(block, "post_attention_layernorm", None) or block.ln_2
        key = (layer, place)

        def keep(module, arguments, keywords):
            self.inputs[key] = arguments[0] if arguments else keywords["hidden_states"]

        def change(module, inputs, output):
            o = output[0] if isinstance(output, tuple) else output
            y = f(o, self.inputs[key], None) - self.inputs[key]  # the block adds its residual again
            return (y, *output[1:]) if isinstance(output, tuple) else y

        # What the residual is: the block's input, or what enters the second norm.
        (block if place == "attention" else norm).register_forward_pre_hook(keep, with_kwargs=True)
        (attention if place == "attention" else block.mlp).register_forward_hook(change)
