"""Rows given as embeddings, which are none of the vocabulary's, through peft itself (transformers' inputs_embeds)."""
import peft
import torch
from methods import PeftMethod
from safetensors.torch import load_file


class PeftPrompt(PeftMethod):
    """peft's prompt tuning, which peft itself does not load to be trained."""

    def load(self, model, folder):
        config = peft.PeftConfig.from_pretrained(folder)
        config.inference_mode = False
        model = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
        peft.set_peft_model_state_dict(model, load_file(folder / self.weights))
        model.double().eval()
        rows, plain = self.arguments["num_virtual_tokens"], model.forward

        def forward(**keywords):
            result = plain(**keywords)
            result.logits = result.logits[:, rows:]
            return result

        model.forward = forward
        return model, {"prompt_embeddings": model.prompt_encoder["default"].embedding.weight}


CASES = [
    dict(name="prompt_llama_embeddings", base="llama_lora", batch=(2, 7, 2), seed=2300, skip_first=True, embeddings=True,
         method=PeftPrompt(peft.PromptTuningConfig, num_virtual_tokens=3,
                           change=lambda name, p: 0.5 * torch.randn_like(p))),
]
