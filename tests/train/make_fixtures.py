#!/usr/bin/env python3
"""Writes what the tests of this folder compare with: two tiny tokenizers and fixtures.h.

The numbers come from Hugging Face's own code: schedules from transformers.optimization, sampling from
transformers.generation's processors, conversations from its Jinja rendering, ids from tokenizers. Run again after a
change here; fixtures.h names the versions."""
import json
import os
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.generation import logits_process as lp
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+")


def byte_letters():
    """GPT-2's letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def bytelevel():
    letter = byte_letters()
    vocabulary = {letter[b]: b for b in range(256)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "t"), ("a", "n"), ("an", "d"), (".", "Ċ"), ("Ċ", "Ċ"),
              ("H", "i"), ("Ġ", "Ġ"), ("o", "u"), ("l", "l")]
    for a, b in merges:
        vocabulary[a + b] = len(vocabulary)
    t = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(QWEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return finish(t, "bytelevel")


def spaced():
    """In the manner of Llama 2: U+2581 for spaces and in front of every text, bytes for what has no piece."""
    vocabulary = {"<unk>": 0}
    for b in range(256):
        vocabulary[f"<0x{b:02X}>"] = len(vocabulary)
    for c in "▁abcdefghijklmnopqrstuvwxyzH.[]/INST<>S":
        vocabulary.setdefault(c, len(vocabulary))
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "t"), ("▁", "a"), ("▁", "▁"), ("▁", "H"), ("▁H", "i")]
    for a, b in merges:
        vocabulary.setdefault("H" + "i", len(vocabulary))
        vocabulary[a + b] = len(vocabulary)
    merges.insert(7, ("H", "i"))
    t = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True,
                             unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    return finish(t, "spaced")


def finish(t, name):
    t.add_special_tokens([tokenizers.AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                     special_tokens=[("<s>", t.token_to_id("<s>"))])
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    t.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}, f, indent=2)
        f.write("\n")
    return t


def schedules(out):
    from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, \
        get_linear_schedule_with_warmup
    makers = {
        "LINEAR": lambda o, w, s: get_linear_schedule_with_warmup(o, w, s),
        "CONSTANT": lambda o, w, s: get_constant_schedule_with_warmup(o, w),
        "COSINE": lambda o, w, s: get_cosine_schedule_with_warmup(o, w, s)}
    out.append("static const struct {\n    espl_schedule schedule;\n    uint32_t warmup, steps;\n    double base;\n"
               "    uint32_t step;\n    double rate;\n} schedule_cases[] = {")
    for name, make in makers.items():
        for warmup, steps in ((0, 10), (3, 10), (5, 5), (1, 1000), (100, 1000), (20, 10)):
            base = 2e-4
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
            rate = make(optimizer, warmup, steps).lr_lambdas[0]
            for step in sorted({0, 1, 2, 3, 4, 5, 9, 10, 99, 100, 101, 550, 999, 1000} & set(range(steps + 1))):
                row = f"ESPL_SCHEDULE_{name}, {warmup}, {steps}, {base!r}, {step}, {base * rate(step)!r}"
                out.append(f"    {{{row}}},")
    out.append("};\n")


def c_floats(values):
    return ", ".join(float(v).hex() + "f" for v in values)


def sampling(out):
    generator = torch.Generator().manual_seed(5)
    count = 48
    logits = torch.randn(count, generator=generator) * 3
    logits[7] = logits[3] = logits.sort(descending=True)[0][15]  # equals at top-k's border
    history = [12, 3, 3, 40, 40, 12, 0, 47, 1000]
    out.append(f"#define SAMPLE_COUNT {count}")
    out.append(f"static const float sample_logits[SAMPLE_COUNT] = {{{c_floats(logits)}}};")
    out.append(f"static const int32_t sample_history[] = {{{', '.join(map(str, history))}}};")
    cases = [(1, 0, 0, 0, 0), (0.7, 0, 0, 0, 0), (1, 5, 0, 0, 0), (1, 17, 0, 0, 0), (1, 0, 0.9, 0, 0),
             (1, 0, 0.3, 0, 0), (2.5, 0, 0.95, 0, 0), (1, 0, 0, 0.05, 0), (1, 0, 0, 1, 0), (1, 0, 0, 0, 1.3),
             (0.8, 20, 0.9, 0.02, 1.1),
             (1.5, 10, 0.5, 0.1, 0.8), (1, 1, 0, 0, 0), (1, 100, 0.999, 0.001, 0), (0.05, 0, 0.9, 0, 0)]
    out.append("static const struct {\n    double temperature;\n    uint32_t top_k;\n"
               "    double top_p, min_p, penalty;\n"
               "    float probability[SAMPLE_COUNT];\n} sample_cases[] = {")
    for temperature, top_k, top_p, min_p, penalty in cases:
        scores, ids = logits[None].clone(), torch.tensor([history])
        if penalty:
            scores = lp.RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
        scores = lp.TemperatureLogitsWarper(float(temperature))(ids, scores)
        if top_k:
            scores = lp.TopKLogitsWarper(top_k)(ids, scores)
        if top_p:
            scores = lp.TopPLogitsWarper(top_p)(ids, scores)
        if min_p:
            scores = lp.MinPLogitsWarper(float(min_p))(ids, scores)
        probability = scores.softmax(-1)[0]
        out.append(f"    {{{temperature}, {top_k}, {top_p}, {min_p}, {penalty}, {{{c_floats(probability)}}}}},")
    out.append("};\n")


TEMPLATES = {  # as published with the models, without their parts for tools
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
              "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
              "{% endif %}",
    "qwen": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
            "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
            "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
              "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
              "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
              "{{ content }}{% endfor %}{% if add_generation_prompt %}"
              "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
              "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
              "{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}"
              "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
              "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
              "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
              "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
               "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
               "{{ message['content'] + eos_token}}{% endif %}{% endfor %}",
    "mistral-v1": "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
                  "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}"
                  "{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
                  "{%- if loop.first and system_message is defined %}{{- ' [INST] ' + system_message + '\\n\\n' + "
                  "message['content'] + ' [/INST]' }}{%- else %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}"
                  "{%- endif %}{%- else %}{{- ' ' + message['content'] + eos_token}}{%- endif %}{%- endfor %}",
    "mistral-v3": "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
                  "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}"
                  "{{- bos_token }}{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
                  "{%- if loop.last and system_message is defined %}{{- '[INST] ' + system_message + '\\n\\n' + "
                  "message['content'] + '[/INST]' }}{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}"
                  "{%- endif %}{%- else %}{{- ' ' + message['content']|trim + eos_token}}{%- endif %}{%- endfor %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + "
              "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + "
              "message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + "
              "message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
              "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
}


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def wrapped(text, indent="     "):
    parts = [text[i:i + 90] for i in range(0, len(text), 90)] or [""]
    return "\n".join(indent + c_string(p) for p in parts)


def chats(out):
    talk = [("user", "Hello"), ("assistant", "Hi there"), ("user", "Who are you"), ("assistant", "  the assistant  "),
            ("user", " Another question ")]
    system = [("system", "Be brief.")]
    out.append("/* with a system message, without; both ask the assistant to go on */\nstatic const struct {\n"
               "    const char *name, *template_text, *with_system, *without;\n} chat_cases[] = {")
    for name, template in TEMPLATES.items():
        texts = []
        for messages in (system + talk, talk):
            rendered, _ = render_jinja_template(
                [[{"role": r, "content": c} for r, c in messages]], chat_template=template, bos_token="<s>",
                eos_token="</s>", add_generation_prompt=True)
            texts.append(rendered[0])
        if name == "mistral":
            texts[0] = ""  # this template drops it
        name = c_string("chatml" if name == "qwen" else name)
        out.append(f"    {{{name},\n{wrapped(template)},\n{wrapped(texts[0])},\n{wrapped(texts[1])}}},")
    out.append("};\n")


def ids(out, name, tokenizer, text):
    found = tokenizer.encode(text, add_special_tokens=False).ids
    out.append(f"/* {c_string(text)} */\nstatic const int32_t {name}[] = {{{', '.join(map(str, found))}}};")


def main():
    out = [f"/* Made by make_fixtures.py with transformers {transformers.__version__}, tokenizers "
           f"{tokenizers.__version__}, torch {torch.__version__}. */", "#include <espalier/trainer.h>\n"]
    level, space = bytelevel(), spaced()
    schedules(out)
    sampling(out)
    chats(out)
    ids(out, "ids_level_chat", level, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\nthe end.<|im_end|>\n")
    ids(out, "ids_spaced_chat", space, "<s>[INST] Hi [/INST] the end </s><s>[INST] Hi [/INST] at the end </s>")
    ids(out, "ids_level_hi", level, "Hi and the end.")
    with open(os.path.join(HERE, "fixtures.h"), "w") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
