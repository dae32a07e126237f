"""Turns a llama2.c checkpoint (legacy format) and its tokenizer into a Hugging Face Llama folder.

    python3 tools/golden/convert_stories260k.py stories260K.bin tok512.bin OUT_DIR

Needs numpy only. Two things change on the way: the rows of q_proj and k_proj go from rotary pairs that lie side by
side (2j, 2j+1) to pairs half a head apart (j, j + head_dim/2), and the scored pieces become ranked merges.
"""
import json
import re
import struct
import sys
from pathlib import Path

import numpy as np

UNDERLINE = "\u2581"  # what SentencePiece writes for a space


def fail(text):
    sys.exit(f"convert_stories260k: {text}")


def read_checkpoint(path):
    data = Path(path).read_bytes()
    if len(data) < 28:
        fail(f"{path} has {len(data)} bytes, the header alone has 28")
    dim, inner, layers, heads, kv_heads, vocab, length = struct.unpack_from("<7i", data)
    tied, vocab = vocab > 0, abs(vocab)
    if min(dim, inner, layers, heads, kv_heads, vocab, length) <= 0 or dim % heads or heads % kv_heads:
        fail(f"{path} is no llama2.c checkpoint: its header has sizes that do not fit together")
    head_dim = dim // heads
    kv = kv_heads * head_dim
    shapes = [("embed", (vocab, dim)), ("attn_norm", (layers, dim)), ("q", (layers, dim, dim)),
              ("k", (layers, kv, dim)), ("v", (layers, kv, dim)), ("o", (layers, dim, dim)),
              ("mlp_norm", (layers, dim)), ("gate", (layers, inner, dim)), ("down", (layers, dim, inner)),
              ("up", (layers, inner, dim)), ("norm", (dim,)), ("rope", (2, length, head_dim // 2))]
    if not tied:
        shapes.append(("head", (vocab, dim)))
    want = 28 + 4 * sum(int(np.prod(s)) for _, s in shapes)
    if len(data) != want:
        fail(f"{path} has {len(data)} bytes, its header asks for {want}")
    tensors, at = {}, 28
    for name, shape in shapes:
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, "<f4", count, at).reshape(shape)
        at += 4 * count
    config = dict(
        architectures=["LlamaForCausalLM"], model_type="llama", attention_bias=False, attention_dropout=0.0,
        bos_token_id=1, eos_token_id=2, hidden_act="silu", hidden_size=dim, initializer_range=0.02,
        intermediate_size=inner, max_position_embeddings=length, mlp_bias=False, num_attention_heads=heads,
        num_hidden_layers=layers, num_key_value_heads=kv_heads, rms_norm_eps=1e-5, rope_scaling=None,
        rope_theta=10000.0, tie_word_embeddings=tied, torch_dtype="float32", vocab_size=vocab)
    return config, tensors


def half_split(weight, heads):
    """Rows (head, j, 2) -> rows (head, 2, j)."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def hugging_face_names(config, t):
    out = {"model.embed_tokens.weight": t["embed"], "model.norm.weight": t["norm"]}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        out[layer + "input_layernorm.weight"] = t["attn_norm"][i]
        out[layer + "post_attention_layernorm.weight"] = t["mlp_norm"][i]
        out[layer + "self_attn.q_proj.weight"] = half_split(t["q"][i], config["num_attention_heads"])
        out[layer + "self_attn.k_proj.weight"] = half_split(t["k"][i], config["num_key_value_heads"])
        out[layer + "self_attn.v_proj.weight"] = t["v"][i]
        out[layer + "self_attn.o_proj.weight"] = t["o"][i]
        for name in ("gate", "up", "down"):
            out[f"{layer}mlp.{name}_proj.weight"] = t[name][i]
    if "head" in t:
        out["lm_head.weight"] = t["head"]
    return out


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        header[name] = dict(dtype="F32", shape=list(tensors[name].shape), data_offsets=[at, at + size])
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name], "<f4").tobytes())


def read_pieces(path, count):
    """(piece, score) by id, in SentencePiece's spelling."""
    data, at, pieces = Path(path).read_bytes(), 4, []
    for _ in range(count):
        if at + 8 > len(data):
            fail(f"{path} ends after {len(pieces)} of {count} pieces")
        score, size = struct.unpack_from("<fi", data, at)
        if size < 0 or at + 8 + size > len(data):
            fail(f"{path}: piece {len(pieces)} reaches past the end of the file")
        text = data[at + 8:at + 8 + size].decode("utf-8")
        pieces.append((text.replace(" ", UNDERLINE), score))
        at += 8 + size
    if at != len(data):
        fail(f"{path} has {len(data) - at} bytes after its {count} pieces")
    pieces[:3] = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]  # llama2.c writes line breaks around these
    return pieces


def rank_merges(pieces):
    """Every way to join two pieces into a third; best score first, then the longer left part."""
    ids = {p: i for i, (p, _) in enumerate(pieces)}
    whole = {p for p in ids if ids[p] > 2 and not re.fullmatch("<0x[0-9A-F]{2}>", p)}
    merges = []
    for piece, score in pieces:
        if piece in whole:
            ways = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
            ways = [(a, b) for a, b in ways if a in whole and b in whole]
            merges += [(score, a, b) for a, b in sorted(ways, key=lambda w: (ids[w[0]], ids[w[1]]))]
    merges.sort(key=lambda m: (m[0], len(m[1]), len(m[2])), reverse=True)
    return [f"{a} {b}" for _, a, b in merges]


def tokenizer(pieces):
    special = [dict(id=i, content=pieces[i][0], single_word=False, lstrip=False, rstrip=False,
                    normalized=False, special=True) for i in range(3)]
    first = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = [{"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": UNDERLINE}
    back = {"type": "Replace", "pattern": {"String": UNDERLINE}, "content": " "}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence",
                       "normalizers": [{"type": "Prepend", "prepend": UNDERLINE}, replace]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [first, text],
                           "pair": [first, text, *second],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence",
                    "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"},
                                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                  "ignore_merges": False, "vocab": {p: i for i, (p, _) in enumerate(pieces)},
                  "merges": rank_merges(pieces)},
    }


def main():
    if len(sys.argv) != 4:
        fail("usage: convert_stories260k.py IN.bin TOK.bin OUT_DIR")
    config, tensors = read_checkpoint(sys.argv[1])
    pieces = read_pieces(sys.argv[2], config["vocab_size"])
    if len({p for p, _ in pieces}) != len(pieces):
        fail(f"{sys.argv[2]} has the same piece twice")
    out = Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_safetensors(out / "model.safetensors", hugging_face_names(config, tensors))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(pieces), ensure_ascii=False, indent=1) + "\n",
                                        encoding="utf-8")


if __name__ == "__main__":
    main()
