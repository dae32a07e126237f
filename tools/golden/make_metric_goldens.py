"""Writes tests/golden/metrics.json: what published implementations make of small and awkward inputs, and of two real
development sets under rules that the test repeats.

    python3 tools/golden/make_metric_goldens.py [--out FILE] [--data FOLDER]

The same versions give the same bytes.
"""
import argparse
import csv
import hashlib
import json
import math
import random
import warnings
from pathlib import Path

import numpy
import sacrebleu
import scipy
import scipy.stats
import sklearn
import sklearn.metrics as sk
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

warnings.filterwarnings("ignore")
draw = random.Random(7)


def number(x):
    x = float(x)
    return None if math.isnan(x) else x


# ---- Labels ----

def labels_case(name, labels, predicted, label_count):
    case = {"name": name, "labels": labels, "predicted": predicted, "label_count": label_count,
            "accuracy": sk.accuracy_score(labels, predicted),
            "f1_macro": sk.f1_score(labels, predicted, average="macro", zero_division=0),
            "f1_micro": sk.f1_score(labels, predicted, average="micro", zero_division=0),
            "matthews": sk.matthews_corrcoef(labels, predicted)}
    if label_count == 2:
        case["f1"] = sk.f1_score(labels, predicted, labels=[0, 1], pos_label=1, zero_division=0)
    return {k: number(v) if isinstance(v, (float, numpy.floating)) else v for k, v in case.items()}


def labels_cases():
    def some(count, classes):
        return [draw.randrange(classes) for _ in range(count)]
    noisy = some(40, 3)
    return [
        labels_case("two classes", some(30, 2), some(30, 2), 2),
        labels_case("all right", [0, 1, 1, 0], [0, 1, 1, 0], 2),
        labels_case("all wrong", [0, 1, 1, 0], [1, 0, 0, 1], 2),
        labels_case("one class only", [1, 1, 1], [1, 1, 1], 2),
        labels_case("one class only, the other one", [0, 0, 0], [0, 0, 0], 2),
        labels_case("constant predictions", [0, 1, 1, 0, 1], [1, 1, 1, 1, 1], 2),
        labels_case("constant labels", [0, 0, 0, 0], [0, 1, 0, 1], 2),
        labels_case("one row", [1], [0], 2),
        labels_case("three classes", noisy, [c if draw.random() < 0.6 else draw.randrange(3) for c in noisy], 3),
        labels_case("a class that is never there", [0, 3, 3, 0, 1], [0, 3, 1, 1, 1], 5),
        labels_case("a class that is only predicted", [0, 0, 1, 1], [2, 0, 1, 2], 3),
        labels_case("seven classes", some(60, 7), some(60, 7), 7),
    ]


# ---- Numbers ----

def values_case(name, values, predicted):
    return {"name": name, "values": values, "predicted": predicted,
            "pearson": number(scipy.stats.pearsonr(values, predicted).statistic),
            "spearman": number(scipy.stats.spearmanr(values, predicted).statistic)}


def values_cases():
    scores = [round(draw.uniform(0, 5), 2) for _ in range(25)]
    ties = [float(draw.randrange(6)) for _ in range(30)]
    return [
        values_case("scores", scores, [round(s + draw.gauss(0, 1), 3) for s in scores]),
        values_case("ties in both", ties, [float(round(t / 2 + draw.random())) for t in ties]),
        values_case("many ties", [1.0, 1.0, 1.0, 2.0], [3.0, 3.0, 1.0, 1.0]),
        values_case("constant predictions", [0.1, 0.2, 0.3], [0.1, 0.1, 0.1]),
        values_case("constant values", [5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 3.0, 4.0]),
        values_case("two rows", [1.0, 2.0], [7.0, 3.0]),
        values_case("far from zero", [1e8 + i for i in range(6)], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]),
        values_case("large", [1e200, 3e200, -2e200], [1e-200, 2e-200, -1e-200]),
        values_case("signed zeros", [0.0, -0.0, 1.0, 2.0], [-0.0, 1.0, 0.0, 3.0]),
        values_case("exact line", [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]),
    ]


# ---- Entities ----

def entity_scores(labelled, predicted):
    precision, recall, f1, support = precision_recall_fscore_support(labelled, predicted, average="micro",
                                                                     zero_division=0)
    rows = {}
    if any(t != "O" for s in labelled + predicted for t in s):
        report = classification_report(labelled, predicted, output_dict=True, zero_division=0)
        rows = {k: [number(v["precision"]), number(v["recall"]), number(v["f1-score"]), int(v["support"])]
                for k, v in report.items() if not k.endswith(" avg")}
    return {"precision": number(precision), "recall": number(recall), "f1": number(f1), "support": int(support),
            "rows": rows}


def entities_case(name, labelled, predicted):
    labelled, predicted = [s.split() for s in labelled], [s.split() for s in predicted]
    return {"name": name, "labelled": labelled, "predicted": predicted, **entity_scores(labelled, predicted)}


def entities_cases():
    tags = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-creative-work", "B-creative-work"]
    odd = ["O", "B", "I", "E", "S", "B-X", "I-X", "E-X", "S-X", "I-Y", "E-Y", "S-Y", "B-", "."]

    def some(letters, count):
        return [" ".join(draw.choice(letters) for _ in range(1 + i % 9)) for i in range(count)]
    return [
        entities_case("right", ["B-PER I-PER O B-LOC"], ["B-PER I-PER O B-LOC"]),
        entities_case("all O", ["O O O", "O"], ["O O O", "O"]),
        entities_case("nothing predicted", ["B-PER I-PER O"], ["O O O"]),
        entities_case("nothing there", ["O O O"], ["O B-PER O"]),
        entities_case("I without B", ["B-PER I-PER O"], ["I-PER I-PER O"]),
        entities_case("type changes inside", ["B-PER I-PER I-PER"], ["B-PER I-LOC I-LOC"]),
        entities_case("I of another type begins", ["B-PER B-LOC"], ["B-PER I-LOC"]),
        entities_case("B ends the one before", ["B-PER I-PER"], ["B-PER B-PER"]),
        entities_case("ends with the sentence", ["O B-PER", "I-PER O"], ["O B-PER", "B-PER O"]),
        entities_case("types with a dash", ["B-creative-work I-creative-work O"],
                      ["B-creative-work I-creative-work O"]),
        entities_case("types of which one begins another", ["B-A B-AB I-AB B-ABC"], ["B-A B-AB I-A B-ABC"]),
        entities_case("BIO, random", some(tags, 30), some(tags, 30)),
        entities_case("IOBES and stranger, random", some(odd, 40), some(odd, 40)),
    ]


# ---- BLEU ----

def bleu_scores(hypotheses, references):
    width = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(width)]
    bleu = sacrebleu.corpus_bleu(hypotheses, streams)
    return {"score": bleu.score, "correct": [int(c) for c in bleu.counts], "total": [int(t) for t in bleu.totals],
            "hypothesis_words": bleu.sys_len, "reference_words": bleu.ref_len}


def bleu_case(name, hypotheses, references):
    return {"name": name, "hypotheses": hypotheses, "references": references, **bleu_scores(hypotheses, references)}


def bleu_cases():
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    tokenize = Tokenizer13a()
    marks = ["It's 3,000.5 m-long (about 1-2), \"quoted\" & <tag> 'x'.", "U.S.A. costs $5.00, £6,50 or €7-8 ... e.g.,this",
             "«Où?» – “naïve” café… 10°–12° ¿qué? ¡no!", "&quot;a&quot; &amp;lt; b &lt;skipped&gt; c<skipped>d",
             "end-\nof line\nnew\tline\u00a0x\u2003y\u3000z\x1cw \u200b", "a.b,c.1,2.d-3-e 4-,5 .,.,6",
             "\u6f22\u5b57\u3002 \u0627\u0644 \U0001f600!? x_y^z`~|{}[]\\/@#%*+=;:"]
    pieces = ["the", "cat", "12", "3", ".", ",", "-", " ", " ", " ", "'", "&amp;", "&", "(", "é", "…", "\u00a0", "A", "</s>", "\n"]

    def some():
        return "".join(draw.choice(pieces) for _ in range(draw.randrange(0, 26)))
    sentence = "the cat sat on the mat and looked at the other cat ."
    return [
        bleu_case("the same", [sentence], [[sentence]]),
        bleu_case("shorter", ["the cat sat on the mat"], [[sentence]]),
        bleu_case("clipped by the best reference", ["the the the the cat cat sat"],
                  [["the cat sat the", "cat cat the mat on the"]]),
        bleu_case("nearest reference is the shorter of two", ["a b c d"], [["a b c d e f", "a b"]]),
        bleu_case("no 4-gram is right", ["the cat is on a mat now"], [["the cat sat on the mat today"]]),
        bleu_case("no word is right", ["x y z w"], [["a b c d"]]),
        bleu_case("no hypothesis", [""], [["a b c d"]]),
        bleu_case("some hypotheses are empty", ["", sentence, " \n"], [["a b"], [sentence], ["c"]]),
        bleu_case("nothing on either side", [""], [[""]]),
        bleu_case("fewer than four words", ["the cat sat"], [["the cat sat"]]),
        bleu_case("three words beside a long one", ["the cat sat", sentence], [["the cat sat"], ["the cat sat on a mat"]]),
        bleu_case("references of differing count", ["a b c d e", "f g h i j", "k l m n"],
                  [["a b c d x"], ["f g y i j", "z g h i j", "f g h"], ["k l m n o", "k l m"]]),
        bleu_case("marks", marks, [[m] for m in marks]),
        bleu_case("marks against their tokens", marks, [[tokenize(m.rstrip())] for m in marks]),
        bleu_case("random", [some() for _ in range(30)], [[some() for _ in range(1 + i % 3)] for i in range(30)]),
    ]


# ---- Real sets ----

def first_against_others(groups):
    groups = [g for g in groups if len(g) > 1]
    return bleu_scores([g[0] for g in groups], [g[1:] for g in groups])


def real(data):
    groups = {}
    with open(data / "e2e/dev.csv", encoding="utf8", newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["mr"], []).append(row["ref"])
    with open(data / "webnlg/dev.jsonl", encoding="utf8") as file:
        webnlg = [json.loads(line)["refs"] for line in file]
    sentences, at = [[]], 0
    predicted = []
    for line in open(data / "wnut17/dev.conll", encoding="utf8"):
        if line.strip():
            sentences[-1].append(line.rstrip("\n").split("\t")[1])
        elif sentences[-1]:
            sentences.append([])
    sentences = [s for s in sentences if s]
    for sentence in sentences:
        predicted.append([])
        for tag in sentence:
            predicted[-1].append("O" if at % 5 == 0 else "I" + tag[1:] if at % 7 == 0 and tag != "O" else tag)
            at += 1
    return {"e2e_dev": first_against_others(list(groups.values())), "webnlg_dev": first_against_others(webnlg),
            "wnut17_dev": entity_scores(sentences, predicted)}


def write_sum(path):
    """The line of this file in SHA256SUMS beside it."""
    sums = path.parent / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if line.split("  ")[1] != path.name]
    lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    sums.write_text("\n".join(sorted(lines, key=lambda line: line.split("  ")[1])) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=Path, default=root / "tests/golden/metrics.json")
    parser.add_argument("--data", type=Path, default=root.parent / "shared/data")
    args = parser.parse_args()
    golden = {"versions": {m.__name__: getattr(m, "__version__", None) for m in (sklearn, scipy, sacrebleu)},
              "labels": labels_cases(), "values": values_cases(), "entities": entities_cases(), "bleu": bleu_cases(),
              "real": real(args.data)}
    from importlib.metadata import version
    golden["versions"]["seqeval"] = version("seqeval")
    lines = []
    for key, value in golden.items():
        if isinstance(value, list):
            cases = ",\n".join(json.dumps(c, sort_keys=True) for c in value)
            lines.append(f"{json.dumps(key)}: [\n{cases}]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}")
    args.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    if (args.out.parent / "SHA256SUMS").exists():
        write_sum(args.out)


main()
