"""A float64 oracle made of transformers and peft, shared by the scripts of this folder.

transformers casts norms, softmax, rotary angles and logits to float32 whatever the model's dtype is.
Inside `exact()` those casts give float64, so that the whole forward and backward pass is float64.
"""
import contextlib
import os
import warnings

warnings.filterwarnings("ignore", category=FutureWarning)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
import transformers

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gpt2")


@contextlib.contextmanager
def exact():
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved


def auto_class(config):
    """The transformers class for the head that `architectures` names."""
    name = config.architectures[0]
    for ending, auto in (("ForSequenceClassification", transformers.AutoModelForSequenceClassification),
                         ("ForTokenClassification", transformers.AutoModelForTokenClassification),
                         ("ForQuestionAnswering", transformers.AutoModelForQuestionAnswering),
                         ("ForMultipleChoice", transformers.AutoModelForMultipleChoice),
                         ("ForMaskedLM", transformers.AutoModelForMaskedLM),
                         ("ForCausalLM", transformers.AutoModelForCausalLM),
                         ("LMHeadModel", transformers.AutoModelForCausalLM)):
        if name.endswith(ending):
            return auto
    return transformers.AutoModel


def load_model(folder):
    """The stored weights of a model folder, widened to float64; eager attention, no dropout."""
    model, report = auto_class(transformers.AutoConfig.from_pretrained(folder, local_files_only=True)).from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", local_files_only=True,
        output_loading_info=True)
    if report["missing_keys"] or report["mismatched_keys"]:
        raise SystemExit(f"oracle: {folder}: tensors missing or of the wrong shape: "
                         f"{sorted(report['missing_keys'])} {sorted(report['mismatched_keys'])}")
    with exact():
        for module in model.modules():
            if hasattr(module, "inv_freq"):
                module.inv_freq = type(module)(module.config).inv_freq
    return model.eval()


def load_adapter(model, folder, trainable=False):
    import peft
    model = peft.PeftModel.from_pretrained(model, folder, is_trainable=trainable,
                                           autocast_adapter_dtype=False)
    return model.double().eval()


def forward(model, ids, labels=None, **more):
    if model.config.is_encoder_decoder is False and model.config.model_type in DECODERS:
        more["use_cache"] = False
    with exact():
        if model.config.architectures[0].endswith("ForQuestionAnswering"):
            result = model(input_ids=ids, start_positions=labels[:, 0], end_positions=labels[:, 1], **more)
            result["logits"] = torch.stack([result.start_logits, result.end_logits], -1)
            return result
        if model.config.architectures[0].endswith("ForMultipleChoice"):
            ids, more = ids.unflatten(0, (len(labels), -1)), {n: t.unflatten(0, (len(labels), -1)) for n, t in more.items()}
        return model(input_ids=ids, labels=labels, **more)


def greedy(model, ids, count):
    """The `count` ids that follow `ids` [1,T] by taking the largest logit, without a cache."""
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(count):
            best = forward(model, ids).logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, best], 1)
    return ids[0, start:].tolist()
