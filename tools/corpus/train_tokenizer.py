"""Learns a byte-level BPE tokenizer from a text file and writes a Hugging Face tokenizer.json.

    python3 tools/corpus/train_tokenizer.py corpus.txt tokenizer.json --vocab 1024

Ids: 0 <s>, 1 </s>, then the 256 bytes, then one id per merge, in the order learned. Words are split as GPT-2 does
(ByteLevel, no prefix space). The most frequent pair is merged first; ties go to the pair that sorts first, so the
same text gives the same file. Standard library only.
"""
import argparse
import collections
import heapq
import json
import re
import sys

# GPT-2's split; [^\W\d_] are letters and \d digits, which is \p{L} and \p{N} up to rare numerals.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
SPECIAL = ["<s>", "</s>"]


def byte_letters():
    """A printable character for every byte, as GPT-2 chose them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in letters:
            letters[b], extra = chr(extra), extra + 1
    return letters


def learn(text, count):
    """Merges, most frequent pair first, until they made `count` new pieces."""
    letters = byte_letters()
    frequency = collections.Counter(SPLIT.findall(text))
    words = [[letters[b] for b in w.encode()] for w in frequency]
    times = list(frequency.values())
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += times[i]
            where[pair].add(i)
    heap = [(-n, pair) for pair, n in pairs.items()]
    heapq.heapify(heap)
    merges, made = [], set()
    while heap and len(made) < count:
        n, best = heapq.heappop(heap)
        if -n != pairs[best] or n == 0:
            continue  # an old entry; the present one is in the heap too
        merges.append(best)
        made.add(best[0] + best[1])  # two ways may lead to one piece
        changed = set()
        for i in where.pop(best):
            old, new = words[i], []
            for piece in old:  # left to right, without overlap
                if new and (new[-1], piece) == best:
                    new[-1] += piece
                else:
                    new.append(piece)
            for pair in zip(old, old[1:]):
                pairs[pair] -= times[i]
                changed.add(pair)
            for pair in zip(new, new[1:]):
                pairs[pair] += times[i]
                where[pair].add(i)
                changed.add(pair)
            words[i] = new
        for pair in changed:
            if pairs[pair] > 0:
                heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def tokenizer(merges):
    letters = byte_letters()
    pieces = SPECIAL + [letters[b] for b in range(256)]
    vocab = {p: i for i, p in enumerate(pieces)}
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    special = [dict(id=i, content=s, single_word=False, lstrip=False, rstrip=False, normalized=False,
                    special=True) for i, s in enumerate(SPECIAL)]
    first, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = [{"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": {"type": "TemplateProcessing", "single": [first, text], "pair": [first, text, *second],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": vocab, "merges": [f"{a} {b}" for a, b in merges]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--vocab", type=int, default=1024)
    args = parser.parse_args()
    least = len(SPECIAL) + 256
    if args.vocab < least:
        sys.exit(f"train_tokenizer: a vocabulary of {args.vocab} is too small; the bytes alone need {least}")
    try:
        with open(args.text, encoding="utf-8", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as why:
        sys.exit(f"train_tokenizer: {args.text} cannot be read: {why}")
    result = tokenizer(learn(text, args.vocab - least))
    size = len(result["model"]["vocab"])
    if size < args.vocab:
        sys.exit(f"train_tokenizer: {args.text} has words for a vocabulary of {size} only, {args.vocab} asked")
    with open(args.out, "w", encoding="utf-8", newline="\n") as file:
        json.dump(result, file, ensure_ascii=False, indent=1)
        file.write("\n")
    print(f"{args.out}: {size} pieces, {len(result['model']['merges'])} merges")


if __name__ == "__main__":
    main()
