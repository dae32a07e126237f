#!/usr/bin/env python3
"""Writes tests/golden/tokenizers: small tokenizers of every family, and what their own libraries make of awkward texts.

Each folder holds the files as they come with a model, and cases.json: what to encode, the expected ids, types, mask of
special tokens and words. A tokenizer.json, vocab.txt and vocab.json is judged by huggingface/tokenizers as transformers
sets it up; a .model by the SentencePiece library, with the numbers and special tokens of its class put around here.

usage: make_tokenizers.py OUT        (needs tokenizers, transformers, sentencepiece, protobuf)
"""
import io
import json
import os
import sys
import unicodedata

import sentencepiece
import sentencepiece.sentencepiece_model_pb2 as model_pb2
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, trainers

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog didn't like it at all.",
    "Once upon a time there was a little girl who lived near the forest with her grandmother.",
    "Führer naïve café résumé – “quoted” words… cost €5 or $3.50 in 2024!",
    "He said: \"I'll go; you won't, we've won.\" She answered: that's what they're saying.",
    "我想在苹果工作 中文分词 テスト 한국어 텍스트 нещо на Български Ελληνικά ΣΟΦΟΣ",
    "A translation from English to German: that is good. Unaffable people are running and jumping.",
] * 4

LONG = "supercalifragilistic"
TEXTS = [
    "", " ", "   ", "Hello, world!", " leading and trailing ", "tabs\tand\nlines\r\nhere", "double  spaces   here",
    "Führer naïve café résumé", "Fu\u0308hrer nai\u0308ve cafe\u0301", "ÀÉÎÕÜ ñ Ç İstanbul ΣΟΦΟΣ ẞ", "e\u0301\u0323 a\u0301b",
    "我想在apple工作1314151天～", "中文分词 テスト 한국어", "ｶﾞ ﾊﾟ half-width", "ＦＵＬＬｗｉｄｔｈ\u3000ﬁne ① ½ ㎏",
    "🚀 (normal) 😶\u200d🌫️ 👩‍👩‍👧 🇩🇪 ✅", "a\u0001b\u007fc\u200bd\ufeffe\u00adf\ufffdg\u0085h", "\u2b830 \U0002b830\U0002b940\U00020001x",
    "नमस्ते दुनिया ก็ ความ", "don't can't o'clock 'tis", "``quoted'' words \"here\"", "a.b,c;d!e?f—g_h-i", "€5 £6 $7 %8 #9 &10",
    "x" * 99, "x" * 100, "x" * 101, LONG * 12 + " " + "é" * 100, "zzzqqq ЖЖЖ ѣ ꙮ", "[CLS] text [SEP] [MASK].",
    "<s> text </s> <mask>.", "fill the  <mask> in", "<extra_id_0> and <extra_id_99>", "it ' s not n't , fine .", "1 12 123 1234 12345",
]
PAIRS = [
    ("Once upon a time", "there was a little girl"), ("", "only the second"), ("only the first", ""), ("one", "two three four five six seven"),
    ("a long first text that goes on and on", "short"),
]
WORDS = [["The", "quick", "brown", "fox"], ["Führer", "went", "to", "İstanbul", ",", "didn't", "he", "?"], ["中文", "🚀x", "", "a b", "\u200b"]]


def requests():
    for text in TEXTS:
        yield {"text": text}
    for text, pair in PAIRS:
        yield {"text": text, "pair": pair}
    yield {"text": "no special tokens", "special": False}
    yield {"text": "no special tokens", "pair": "in either", "special": False}
    for words in WORDS:
        yield {"words": words}
        yield {"words": words, "max": 6}
    yield {"words": WORDS[0], "pair": "and a question"}
    for most in (4, 5, 8, 9, 100):
        yield {"text": "cut at its end, not before", "max": most}
        for text, pair in [PAIRS[0], PAIRS[3], PAIRS[4]]:
            yield {"text": text, "pair": pair, "max": most}


def judged_by_tokenizers(backend, request):
    if "max" in request:
        backend.enable_truncation(request["max"])
    else:
        backend.no_truncation()
    first = request.get("words", request.get("text"))
    special = request.get("special", True)
    if "words" in request and "pair" in request:
        # The library wants both cut into words or neither: one text as one word.
        made = backend.encode(first, [request["pair"]], is_pretokenized=True, add_special_tokens=special)
    else:
        made = backend.encode(first, request.get("pair"), is_pretokenized="words" in request, add_special_tokens=special)
    result = dict(request, ids=made.ids, types=made.type_ids, mask=made.special_tokens_mask)
    if "words" in request:
        result["word_ids"] = [-1 if w is None or s == 1 else w for w, s in zip(made.word_ids, made.sequence_ids)]
        if "pair" in request:
            result["word_ids"] = [w if s == 0 else -1 for w, s in zip(result["word_ids"], made.sequence_ids)]
    if set(request) == {"text"}:
        result["decoded"] = backend.decode(made.ids, skip_special_tokens=True)
    return result


def save(folder, files, cases):
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    with open(os.path.join(folder, "cases.json"), "w") as file:
        for case in cases:
            if set(case) >= {"text"} and "pair" not in case and case["text"] and not set(case) & {"max", "special"}:
                del case["types"], case["mask"]  # as plain as in the cases with a length
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        file.write("[\n" + lines + "\n]\n")


def by_tokenizers(out, name, tokenizer, files, config=None):
    """files: those to keep of the tokenizer's own, by a function of the backend; config: tokenizer_config.json."""
    backend = tokenizer.backend_tokenizer if hasattr(tokenizer, "backend_tokenizer") else tokenizer
    kept = files(backend)
    if config is not None:
        kept["tokenizer_config.json"] = json.dumps(config, indent=1) + "\n"
    save(os.path.join(out, name), kept, [judged_by_tokenizers(backend, r) for r in requests()])


def as_json(backend):
    backend.no_truncation()
    return {"tokenizer.json": json.dumps(json.loads(backend.to_str()), separators=(",", ":")) + "\n"}


# ---- WordPiece ----

def wordpiece_vocabulary(lower):
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower)
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(TEXT + [LONG] * 4 + ["xx x"], trainers.WordPieceTrainer(vocab_size=420, special_tokens=special, show_progress=False))
    vocabulary = backend.get_vocab()
    return {piece: vocabulary[piece] for piece in sorted(vocabulary, key=vocabulary.get)}


def as_vocab_txt(backend):
    vocabulary = {p: i for p, i in backend.get_vocab().items()}
    return {"vocab.txt": "".join(p + "\n" for p in sorted(vocabulary, key=vocabulary.get))}


def make_wordpiece(out):
    lower, cased = wordpiece_vocabulary(True), wordpiece_vocabulary(False)
    uncased = transformers.BertTokenizer(vocab=lower)
    by_tokenizers(out, "bert_uncased_txt", uncased, as_vocab_txt, {"do_lower_case": True})
    by_tokenizers(out, "bert_uncased_json", uncased, as_json)
    by_tokenizers(out, "bert_cased_txt", transformers.BertTokenizer(vocab=cased, do_lower_case=False), as_vocab_txt,
                  {"do_lower_case": False, "tokenizer_class": "DistilBertTokenizer"})
    by_tokenizers(out, "electra_odd_txt", transformers.BertTokenizer(
        vocab=lower, do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False), as_vocab_txt,
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False, "tokenizer_class": "ElectraTokenizerFast"})
    old = transformers.BertTokenizer(vocab=cased, do_lower_case=True, strip_accents=False).backend_tokenizer
    old.post_processor = tokenizers.processors.BertProcessing(("[SEP]", cased["[SEP]"]), ("[CLS]", cased["[CLS]"]))
    old.model = models.WordPiece(cased, unk_token="[UNK]", max_input_chars_per_word=8)
    by_tokenizers(out, "bert_processing_json", old, as_json)


# ---- byte-level BPE ----

def make_roberta(out):
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(backend.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    vocabulary["<mask>"] = len(vocabulary)

    def as_gpt2(backend):
        return {"vocab.json": json.dumps(vocabulary, ensure_ascii=False) + "\n",
                "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
                "config.json": json.dumps({"model_type": "roberta"}) + "\n"}

    for name, prefix, files, config in (("roberta_files", False, as_gpt2, None), ("roberta_prefix_files", True, as_gpt2, {"add_prefix_space": True}),
                                        ("roberta_prefix_json", True, as_json, None)):
        mask = tokenizers.AddedToken("<mask>", lstrip=True, special=True, normalized=False)
        tokenizer = transformers.RobertaTokenizer(vocab=dict(vocabulary), merges=list(merges), add_prefix_space=prefix, mask_token=mask)
        by_tokenizers(out, name, tokenizer, files, config)


# ---- Unigram ----

# A few rows of what nmt_nfkc has; the whole of it takes 300 KB.
RULES = {"\u3000": " ", "\u00a0": " ", "\u200b": " ", "\t": " ", "\n": " ", "\r": " ", "\u0001": "", "\u007f": "", "\ufeff": "", "ﬁ": "fi", "①": "1",
         "½": "1\u20442", "…": "...", "㎏": "kg", "e\u0301": "é", "u\u0308": "ü", "ｶﾞ": "ガ", "ﾊﾟ": "パ", "～": "~"}
RULES.update({chr(0xff21 + i): chr(65 + i) for i in range(26)})
RULES.update({chr(0xff41 + i): chr(97 + i) for i in range(26)})


def train(folder, size=260, **options):
    rules = os.path.join(folder, "rules.tsv")
    with open(rules, "w") as file:
        for source, target in RULES.items():
            file.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT + ["x xx " + LONG, "quoted \" here ~ 1 é ü fi"]), model_writer=made, vocab_size=size, normalization_rule_tsv=rules,
        hard_vocab_limit=False, num_threads=1, minloglevel=2, character_coverage=0.99, **options)
    os.remove(rules)
    proto = model_pb2.ModelProto()
    proto.ParseFromString(made.getvalue())
    for field in ("input", "model_prefix"):
        proto.trainer_spec.ClearField(field)
    proto.normalizer_spec.normalization_rule_tsv = ""
    return proto


def albert_before(text):
    text = unicodedata.normalize("NFKD", text.replace("``", '"').replace("''", '"'))
    return "".join(c for c in text if unicodedata.category(c)[0] != "M").lower()


class Convention:
    def __init__(self, proto, added, around, number=lambda i: i, before=lambda text: text):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self.added, self.around, self.number, self.before = added, around, number, before

    def ids(self, text):
        """added: {token: (id, takes the space before it)}"""
        for at in range(len(text)):
            for token, (number, lstrip) in self.added.items():
                if text.startswith(token, at):
                    front = text[:at].rstrip() if lstrip else text[:at]
                    return self.ids_plain(front) + [number] + self.ids(text[at + len(token):])
        return self.ids_plain(text)

    def ids_plain(self, text):
        return [self.number(i) for i in self.processor.encode(self.before(text))] if text else []

    def judge(self, request):
        if "words" in request:
            first = [(i, n) for n, word in enumerate(request["words"]) for i in self.ids(word)]
        else:
            first = [(i, -1) for i in self.ids(request["text"])]
        second = [(i, -1) for i in self.ids(request["pair"])] if "pair" in request else None
        parts = self.around(second is not None)
        special = request.get("special", True)
        if "max" in request:
            room = request["max"] - (sum(p[0] not in "AB" if isinstance(p[0], str) else 1 for p in parts) if special else 0)
            if second is None:
                first = first[:room]
            elif len(first) + len(second) > room:
                # The shorter text keeps what it has, up to half; of an odd number the longer one has one more.
                short = min(len(first), len(second), room // 2)
                first, second = ((first[:room - short], second[:short]) if len(first) > len(second)
                                 else (first[:short], second[:room - short]))
        made = []
        for token, kind in parts:
            if token in ("A", "B"):
                made += [(i, kind, 0, w) for i, w in (first if token == "A" else second)]
            elif special:
                made.append((token, kind, 1, -1))
        result = dict(request, ids=[m[0] for m in made], types=[m[1] for m in made], mask=[m[2] for m in made])
        if "words" in request:
            result["word_ids"] = [m[3] for m in made]
        return result


def bert_around(cls, sep):
    return lambda pair: [(cls, 0), ("A", 0), (sep, 0)] + ([("B", 1), (sep, 1)] if pair else [])


def make_unigram(out):
    table = lambda proto: [(p.piece, p.score) for p in proto.pieces]
    charsmap = lambda proto: proto.normalizer_spec.precompiled_charsmap

    proto = train(out)
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + table(proto)[3:] + [("<mask>", 0.0)]
    by_tokenizers(out, "xlm_roberta_json", transformers.XLMRobertaTokenizer(
        vocab=pieces, _spm_precompiled_charsmap=charsmap(proto),
        mask_token=tokenizers.AddedToken("<mask>", lstrip=True, special=True, normalized=False)), as_json)
    added = {"<s>": (0, False), "<pad>": (1, False), "</s>": (2, False), "<unk>": (3, False), "<mask>": (len(pieces) - 1, True)}
    rule = Convention(proto, added, lambda pair: [(0, 0), ("A", 0), (2, 0)] + ([(2, 0), ("B", 0), (2, 0)] if pair else []),
                      number=lambda i: {0: 3, 1: 0, 2: 2}.get(i, i + 1))
    save(os.path.join(out, "xlm_roberta_model"), {"sentencepiece.bpe.model": proto.SerializeToString(), "config.json": '{"model_type": "xlm-roberta"}\n'},
         [rule.judge(r) for r in requests()])

    proto = train(out, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_piece="<pad>")
    by_tokenizers(out, "albert_json", transformers.AlbertTokenizer(
        vocab=table(proto), _spm_precompiled_charsmap=charsmap(proto),
        mask_token=tokenizers.AddedToken("[MASK]", lstrip=True, special=True, normalized=False)), as_json)
    added = {"<pad>": (0, False), "<unk>": (1, False), "[CLS]": (2, False), "[SEP]": (3, False), "[MASK]": (4, True)}
    rule = Convention(proto, added, bert_around(2, 3), before=albert_before)
    save(os.path.join(out, "albert_model"), {"spiece.model": proto.SerializeToString(), "tokenizer_config.json": '{"tokenizer_class": "AlbertTokenizer"}\n'},
         [rule.judge(r) for r in requests()])

    proto = train(out, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]")
    by_tokenizers(out, "deberta_v2_json", transformers.DebertaV2Tokenizer(vocab=table(proto) + [("[MASK]", 0.0)], unk_id=3), as_json)
    added = {"[PAD]": (0, False), "[CLS]": (1, False), "[SEP]": (2, False), "[UNK]": (3, False), "[MASK]": (len(proto.pieces), False)}
    rule = Convention(proto, added, bert_around(1, 2))
    save(os.path.join(out, "deberta_v2_model"), {"spm.model": proto.SerializeToString(), "config.json": '{"model_type": "deberta-v2"}\n'},
         [rule.judge(r) for r in requests()])

    proto = train(out, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    extra = [f"<extra_id_{i}>" for i in range(99, -1, -1)]
    by_tokenizers(out, "t5_json", transformers.T5Tokenizer(vocab=table(proto) + [(e, 0.0) for e in extra], _spm_precompiled_charsmap=charsmap(proto)), as_json)
    added = {e: (len(proto.pieces) + n, False) for n, e in enumerate(extra)}
    added.update({"<pad>": (0, False), "</s>": (1, False), "<unk>": (2, False)})
    rule = Convention(proto, added, lambda pair: [("A", 0), (1, 0)] + ([("B", 0), (1, 0)] if pair else []))
    save(os.path.join(out, "t5_model"), {"spiece.model": proto.SerializeToString(), "tokenizer_config.json": '{"tokenizer_class": "T5Tokenizer", "extra_ids": 100}\n'},
         [rule.judge(r) for r in requests()])

    bytes_too = train(out, 400, byte_fallback=True)
    backend = tokenizers.Tokenizer(models.Unigram(table(bytes_too), 0, True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    by_tokenizers(out, "unigram_bytes_json", backend, as_json)


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    make_wordpiece(out)
    make_roberta(out)
    make_unigram(out)
    print(f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}, sentencepiece {sentencepiece.__version__}")


if __name__ == "__main__":
    main()
