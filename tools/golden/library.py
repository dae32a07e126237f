"""Models as the Adapters library has them, in float64; shared by the scripts of this folder that need that library."""
from pathlib import Path

from oracle import exact
import adapters
import adapters.models.llama.modeling_llama as llama
import torch
import transformers

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
