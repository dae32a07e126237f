"""Rows before a sequence, by peft's rules: prompt tuning (token embeddings, first positions) and prefix tuning without its
generator (past keys and values; real tokens at positions P and on)."""
import torch
import transformers
import transformers.models.albert.modeling_albert as albert
from methods import OwnMethod


def prompt(model, config):
    rows, d = config["num_virtual_tokens"], model.config.hidden_size
    residual, encoder = config.get("residual_hidden_size", 0), config.get("encoder_hidden_size", 0)
    lstm = None
    widths = [d, residual, d] if residual else [d, encoder, encoder, d]  # P-tuning: peft's PromptEncoder
    if config.get("encoder_reparameterization_type") == "LSTM":
        lstm = torch.nn.LSTM(d, encoder, num_layers=config["encoder_num_layers"], bidirectional=True).double()
        widths = [2 * encoder, 2 * encoder, d]
    maps = [f"{'transform' if residual else 'mlp_head'}.{2 * i}" for i in range(len(widths) - 1)]
    shapes = {"embedding.weight": (rows, d)} if residual or encoder else {"prompt_embeddings": (rows, d)}
    for name, i, o in zip(maps if residual or encoder else (), widths, widths[1:]):
        shapes |= {f"{name}.weight": (o, i), f"{name}.bias": (o,)}
    p = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in shapes.items()}

    if lstm:
        p |= {f"lstm_head.{n}": t for n, t in lstm.named_parameters()}

    def made():
        if "prompt_embeddings" in p:
            return p["prompt_embeddings"]
        x = p["embedding.weight"]
        x = lstm(x)[0] if lstm else x
        for i, name in enumerate(maps):
            x = (torch.relu(x) if i else x) @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        return x + p["embedding.weight"] if residual else x

    plain = model.forward

    def forward(input_ids, labels=None, **keywords):
        batch = input_ids.shape[0]
        embeddings = model.get_input_embeddings()(input_ids)
        embeddings = torch.cat([made().expand(batch, -1, -1), embeddings], 1)
        if labels is not None:
            labels = torch.cat([labels.new_full((batch, rows), -100), labels], 1) if labels.dim() == 2 else labels
        for name, value in (("attention_mask", 1), ("token_type_ids", 0)):
            if name in keywords:
                keywords[name] = torch.cat([keywords[name].new_full((batch, rows), value), keywords[name]], 1)
        result = plain(inputs_embeds=embeddings, labels=labels, **keywords)
        if result.logits.dim() == 3:  # a class of the whole is read from the first row, which is the prompt's
            result.logits = result.logits[:, rows:]
        return result

    model.forward = forward
    return {n: (t, 0.5 * torch.randn_like(t)) for n, t in p.items()}


def prefix(model, config):
    c, rows = model.config, config["num_virtual_tokens"]
    heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
    size = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    table = torch.nn.Parameter(torch.zeros(rows, c.num_hidden_layers * 2 * heads * size, dtype=torch.float64))
    plain = model.forward

    def forward(input_ids, labels=None, **keywords):
        batch = input_ids.shape[0]
        past = table.view(rows, c.num_hidden_layers * 2, heads, size).permute(1, 2, 0, 3)
        cache = transformers.DynamicCache()
        for i in range(c.num_hidden_layers):
            cache.update(past[2 * i].expand(batch, -1, -1, -1), past[2 * i + 1].expand(batch, -1, -1, -1), i)
        keywords["use_cache"] = True
        if "attention_mask" in keywords:
            keywords["attention_mask"] = torch.nn.functional.pad(keywords["attention_mask"], (rows, 0), value=1)
        return plain(input_ids=input_ids, labels=labels, past_key_values=cache, **keywords)

    model.forward = forward
    return {"prompt_embeddings": (table, 0.5 * torch.randn_like(table))}


def prefix_of_runs(model, config):
    """A model whose blocks share weights and take no past keys (ALBERT): rows before the keys and values of each run of a block,
    the text's positions behind them, as BERT has it."""
    c, rows = model.config, config["num_virtual_tokens"]
    heads, runs = c.num_attention_heads, c.num_hidden_layers
    table = torch.nn.Parameter(torch.zeros(rows, runs * 2 * c.hidden_size, dtype=torch.float64))
    plain, attend = model.forward, albert.eager_attention_forward
    done = []

    def attention(module, query, key, value, mask, **keywords):
        past = table.view(rows, runs * 2, heads, -1).permute(1, 2, 0, 3)[2 * len(done):2 * len(done) + 2]
        done.append(module)
        key, value = (torch.cat([p.expand(len(t), -1, -1, -1), t], 2) for p, t in zip(past, (key, value)))
        mask = None if mask is None else torch.nn.functional.pad(mask, (rows, 0))
        return attend(module, query, key, value, mask, **keywords)

    def forward(input_ids, **keywords):
        done.clear()
        albert.eager_attention_forward = attention
        positions = torch.arange(rows, rows + input_ids.shape[1])[None]
        try:
            return plain(input_ids=input_ids, position_ids=positions, **keywords)
        finally:
            albert.eager_attention_forward = attend

    model.forward = forward
    return {"prompt_embeddings": (table, 0.5 * torch.randn_like(table))}


def case(name, base, seed, attach, peft_type, rows, **more):
    return dict(name=name, base=base, batch=(2, 7, 0), seed=seed, skip_first=True,
                **({} if set(more) - {"inference_mode"} else dict(generate=8)),  # peft has none of it in its folders
                method=OwnMethod(attach, peft_type=peft_type, num_virtual_tokens=rows, **more))


CASES = [
    case("prompt_llama", "llama_lora", 2200, prompt, "PROMPT_TUNING", 3),
    case("prompt_gpt2", "gpt2_lora", 2201, prompt, "PROMPT_TUNING", 5),
    case("residual_prompt_llama", "llama_lora", 2206, prompt, "PROMPT_TUNING", 3, residual_hidden_size=7),
    case("residual_prompt_gpt2", "gpt2_lora", 2207, prompt, "PROMPT_TUNING", 2, residual_hidden_size=11),
    case("ptuning_llama", "llama_tied_rope_scaling", 2202, prompt, "P_TUNING", 1, inference_mode=True),
    case("ptuning_encoder_llama", "llama_lora", 2208, prompt, "P_TUNING", 3, encoder_hidden_size=7),
    case("ptuning_lstm_llama", "llama_lora", 2210, prompt, "P_TUNING", 3, encoder_hidden_size=8, encoder_num_layers=2,
         encoder_reparameterization_type="LSTM"),
    case("ptuning_encoder_gpt2", "gpt2_lora", 2209, prompt, "P_TUNING", 2, encoder_hidden_size=40),
    case("prefix_llama", "llama_lora", 2203, prefix, "PREFIX_TUNING", 4),
    case("prefix_gpt2", "gpt2_lora", 2204, prefix, "PREFIX_TUNING", 2),
    case("prefix_qwen3", "qwen3_patterns", 2205, prefix, "PREFIX_TUNING", 7),
]
