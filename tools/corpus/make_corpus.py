"""Writes a text made wholly from our own templates: short stories, or a second style to fine-tune on.

    python3 tools/corpus/make_corpus.py --bytes 1200000 --out corpus.txt
    python3 tools/corpus/make_corpus.py --style rhyme --bytes 60000 --out rhymes.txt

story   one story per paragraph        rhyme   four lines that rhyme in pairs
recipe  a title and numbered steps     Pieces are separated by a blank line. The same seed gives the same bytes.
"""
import argparse
import random
import sys

from plots import PLOTS, about
from story import Story
from styles import recipe, rhyme


def story(source):
    tale = Story(source)
    source.choice(PLOTS)(tale)
    if "a" in tale.env and tale.chance(0.6):
        told, tale.said = tale.said, []
        about(tale)
        tale.said += told
    return tale.text()


STYLES = dict(story=story, rhyme=rhyme, recipe=recipe)


def corpus(style, size, seed):
    """Different pieces until `size` bytes are full; never more than `size`."""
    source, pieces, seen, used, misses = random.Random(seed), [], set(), 0, 0
    while misses < 1000:
        piece = STYLES[style](source)
        if piece in seen:
            misses += 1
            continue
        if used + len(piece.encode()) + 2 > size:
            break
        seen.add(piece)
        pieces.append(piece)
        used += len(piece.encode()) + 2
    return "\n\n".join(pieces) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--style", choices=sorted(STYLES), default="story")
    parser.add_argument("--bytes", type=int, default=1200000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    if args.bytes < 1000:
        sys.exit(f"make_corpus: {args.bytes} bytes are too few for one piece; ask for 1000 or more")
    text = corpus(args.style, args.bytes, args.seed)
    with open(args.out, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    print(f"{args.out}: {len(text.encode())} bytes, {text.count(chr(10) * 2) + 1} pieces")


if __name__ == "__main__":
    main()
