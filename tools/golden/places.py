"""Where hooks of the references go: the blocks and sub-layers of transformers' models."""


def embedded(model, f):
    """What enters the first block becomes f(it)."""
    inner = getattr(model, "model", None) or getattr(model, "transformer", None) or model.base_model
    last = getattr(inner, "drop", None) or getattr(inner, "embed_tokens", None) or inner.embeddings
    last.register_forward_hook(lambda module, arguments, output: f(output))


def before_head(model, f):
    """What the output projection of a language head reads becomes f(it)."""
    head = getattr(model, "lm_head", None) or model.cls.predictions.decoder
    head.register_forward_pre_hook(lambda module, arguments: (f(arguments[0]),))


class Sublayers:
    """replace(layer, place, f): the sub-layer's result, residual and following norm included, becomes f(o, x, norm): o its own
    output, x its residual input, norm the base's norm after the sum or None where the norm comes before."""

    def __init__(self, model):
        inner = getattr(model, "model", None) or getattr(model, "transformer", None) or model.base_model.encoder
        self.blocks = getattr(inner, "layers", None) or getattr(inner, "h", None) or inner.layer
        self.post_norm = not hasattr(self.blocks[0], "mlp")  # BERT and its like
        self.paths = {i: n for n, m in model.named_modules() for i, b in enumerate(self.blocks) if m is b}
        self.count = len(self.blocks)
        self.prefix = self.paths[0].split("encoder.layer.")[0].split("layers.")[0].split("h.0")[0]
        self.inputs, self.normed = {}, {}

    def path(self, layer, place):
        if self.post_norm:
            return f"{self.paths[layer]}.{'attention.output' if place == 'attention' else 'output'}"
        return f"{self.paths[layer]}.{'attention' if place == 'attention' else 'output'}_adapters"

    def replace(self, layer, place, f):
        (self.replace_after if self.post_norm else self.replace_before)(self.blocks[layer], (layer, place), f)

    def replace_after(self, block, key, f):
        """dense, dropout, residual and norm are one module, given what dense takes and the residual."""
        def change(module, arguments, output):
            return f(module.dense(arguments[0]), arguments[1], module.LayerNorm)

        (block.attention.output if key[1] == "attention" else block.output).register_forward_hook(change)

    def replace_before(self, block, key, f):
        attention = getattr(block, "self_attn", None) or getattr(block, "attn")
        norm = getattr(block, "post_attention_layernorm", None) or block.ln_2

        def keep(module, arguments, keywords):
            self.inputs[key] = arguments[0] if arguments else keywords["hidden_states"]

        def change(module, inputs, output):
            o = output[0] if isinstance(output, tuple) else output
            y = f(o, self.inputs[key], None) - self.inputs[key]  # the block adds its residual again
            return (y, *output[1:]) if isinstance(output, tuple) else y

        def keep_normed(module, inputs, output):
            self.normed[key] = output

        first = getattr(block, "input_layernorm", None) or block.ln_1
        (first if key[1] == "attention" else norm).register_forward_hook(keep_normed)
        # What the residual is: the block's input, or what enters the second norm.
        (block if key[1] == "attention" else norm).register_forward_pre_hook(keep, with_kwargs=True)
        (attention if key[1] == "attention" else block.mlp).register_forward_hook(change)
