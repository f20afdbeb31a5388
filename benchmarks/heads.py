"""Which frozen learner is best from few labels? What `adapt` chooses, the usual learner, and scikit-learn's on the same features.

    OMP_NUM_THREADS=1 python benchmarks/heads.py KIT --out heads.jsonl [--part test] [--sets pacs trec6] [--shots 5 8] [--draws 20]

Every draw takes `shots` labelled examples of each class (at most 15 classes), chooses by them, and is measured on up to 60 other examples
of each class. With --part test, sets that have test classes are drawn from these alone, sets without from all their classes; with --part
train from their training classes, on which what is usual was chosen. MobileNetV2 at 96 px for images, MiniLM for texts, at most 100
examples of a class. One JSON line a draw; at the end a table: points of accuracy beyond LogisticRegression(), mean over sets.

--also NAME... measures more learners beside these ("{names}" stands for the prompts of the set), each alone and, as `joined`, among those
that are chosen from.

`saved` is what `adapt` saves without other data: the usual learner unless another is clearly better. LogisticRegression() and
LogisticRegressionCV() are scikit-learn's, on the same features as the network gives them.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import SPLITS, Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.learners.choice import Choice
from fewtune.learners.side import Side
from fewtune.learners.usual import alone_of, prior_of
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.fitting import fit_head
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import read_method

IMAGES = ("omniglot8", "pacs", "dtd10", "clothing10", "cifar10", "caltech101")
TEXTS = ("hwu64", "sst2", "cr", "trec6", "tweet_emotion4", "news20")
MOST_CLASSES, MOST_ROWS, MOST_ASKED, LEAST_ASKED = 15, 100, 60, 4


def main() -> None:
    given = given_by(__doc__, shots=[5, 8], also="such as 'logistic(C=\"loo\")' or 'shrink(prompts={names})'")
    with given.out.open("a") as out:
        for name in given.sets:
            examples, backbone = opened(given.kit, name)
            features = feature_table(backbone, RowSpace([examples]), folder=given.cache, quiet=True).features
            for shots in given.shots:
                for seed in range(given.draws):
                    line = measured(examples, features, backbone, usable(examples, given.part, shots), shots, seed, given.also)
                    out.write(json.dumps({"set": name, "part": given.part, "shots": shots, "seed": seed, **line}) + "\n")
                    out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def given_by(what: str | None, shots: Sequence[int], also: str = "") -> argparse.Namespace:
    """The arguments of a benchmark that draws labelled examples from sets of the kit, on one thread. `shots`: labels a class by default.

    `also`: the help of --also, where there is such an argument.
    """
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("train", "test"), default="test")
    parser.add_argument("--sets", nargs="+", default=[*IMAGES, *TEXTS])
    parser.add_argument("--shots", nargs="+", type=int, default=list(shots))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--cache", type=Path)
    if also:
        parser.add_argument("--also", nargs="+", default=[], help=also)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    return parser.parse_args()


def opened(kit: Path, name: str) -> tuple[Examples, Backbone]:
    """A set with at most 100 examples of a class, and its backbone."""
    if name in IMAGES or (kit / "images" / f"{name}.npz").exists():
        whole, spec = read_examples(kit / "images" / f"{name}.npz"), "timm:mobilenetv2_100,size=96,pad_type=same"
        weights: Path | None = kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    else:
        whole, spec, weights = read_examples(kit / "text" / f"{name}.jsonl"), f"hf:{kit / 'weights' / 'all-minilm-l6-v2'}", None
    order = np.random.default_rng(0).permutation(len(whole))
    rank = np.zeros(len(whole), dtype=np.int64)
    for c in range(len(whole.class_names)):
        mine = order[whole.labels[order] == c]
        rank[mine] = np.arange(len(mine))
    few = whole.take(np.flatnonzero((whole.labels >= 0) & (rank < MOST_ROWS)))
    return few, load_backbone(spec, weights=weights, machine=Machine(device="cpu"))


def usable(examples: Examples, part: str, shots: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The classes that a draw may take: those of the part, with examples enough to ask."""
    split = examples.class_split
    allowed = split == SPLITS[part] if (split == SPLITS["test"]).any() else np.ones(len(split), dtype=bool)
    return np.flatnonzero(allowed & (examples.counts() >= shots + LEAST_ASKED))


def drawn(examples: Examples, classes: Any, shots: int, seed: int, most_asked: int = MOST_ASKED) -> tuple[Any, Any, Any, list[int], Any]:
    """(classes, labelled rows and their labels, other rows and theirs) of one draw; labels are places in the classes."""
    random = np.random.default_rng([seed, shots])
    taken = random.permutation(classes)[:MOST_CLASSES]
    rows, labels, asked, truth = [], [], [], []
    for k, c in enumerate(taken):
        mine = random.permutation(np.flatnonzero(examples.labels == c))
        rows += mine[:shots].tolist()
        labels += [k] * shots
        others = mine[shots : shots + most_asked].tolist()
        asked += others
        truth += [k] * len(others)
    return taken, np.array(rows), np.array(labels), asked, np.array(truth)


def measured(
    examples: Examples, features: torch.Tensor, backbone: Backbone, classes: Any, shots: int, seed: int, also: Sequence[str] = ()
) -> dict[str, Any]:
    """Accuracies of one draw, by learner, and the seconds of each; `also`: the texts of more learners."""
    taken, rows, y, asked, t = drawn(examples, classes, shots, seed)
    X, Z = features[rows].numpy(), features[asked].numpy()
    found: dict[str, Any] = {"ways": len(taken)}
    peers = {"LogisticRegression": LogisticRegression(max_iter=1000)} | ({"LogisticRegressionCV": cross_validated(y)} if shots > 1 else {})
    for name, peer in peers.items():
        began = time.process_time()
        found[name] = float((peer.fit(X, y).predict(Z) == t).mean())
        found[f"{name} seconds"] = time.process_time() - began
    names = tuple(examples.class_names[c] for c in taken)
    began = time.process_time()
    modality, single = backbone.preparation.modality, shots == 1
    methods = candidates(label_side=backbone.label_side, modality=modality, rows=len(rows), single=single)
    side = Side(backbone, features)
    choice = side.choose(methods, rows, y, names, seed)
    found["saved"] = right(choice.method, side, rows, y, names, asked, t)
    found["saved seconds"], found["chosen"] = time.process_time() - began, choice.name
    found |= {f"head {n}": right(m, side, rows, y, names, asked, t) for n, m in fitted(choice, methods).items()}
    found["usual"] = found[f"head {prior_of(methods) if shots > 1 else alone_of(methods)}"]
    if choice.expected is not None:
        found["expected"] = [choice.expected.mean, choice.expected.low, choice.expected.high]
    more = {text: read_method(text.replace("{names}", "'{}'")) for text in also if backbone.label_side or "{names}" not in text}
    if more:
        joined = side.choose(methods | more, rows, y, names, seed)
        found |= {f"head {n}": right(m, side, rows, y, names, asked, t) for n, m in more.items()}
        found |= {"joined": right(joined.method, side, rows, y, names, asked, t), "joined chosen": joined.name}
    return found


def cross_validated(y: Any) -> LogisticRegressionCV:
    return LogisticRegressionCV(Cs=10, cv=max(2, min(5, int(np.bincount(y).min()))), max_iter=200)


def fitted(choice: Choice, methods: Mapping[str, Method]) -> dict[str, Method]:
    """Every candidate, with what the held-out folds chose for it."""
    return {**methods, **{c.name: c.method for c in choice.candidates}}


def right(method: Method, side: Side, rows: Sequence[int], y: Any, names: Sequence[str], asked: Sequence[int], truth: Any) -> float:
    """The accuracy of a learner fitted on some rows, on others."""
    vectors = vectors_by_prompts(side.backbone, names, [method]).get(prompts_of(method.head))
    state, parameters = fit_head(method, side.features, np.array(rows), y, len(names), vectors)
    answered = method.head.score(state, side.features[list(asked)][None], parameters)[0].argmax(-1).numpy()
    return float((answered == truth).mean())


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Points beyond LogisticRegression(), a line a set and their mean with its 95% interval over draws."""
    measured = dict.fromkeys(c for line in lines for c, value in line.items() if isinstance(value, float) and not c.endswith("seconds"))
    columns = [c for c in measured if c != "LogisticRegression"]
    columns = ["saved", "usual", *[c for c in columns if c not in ("saved", "usual")]]
    wide = max(map(len, [line["set"] for line in lines]))
    return "\n".join(_lines(lines, columns, wide))


def _lines(lines: Sequence[Mapping[str, Any]], columns: Sequence[str], wide: int) -> Iterator[str]:
    yield " " * wide + "  base " + " ".join(f"{c.removeprefix('head ')[:14]:>14}" for c in columns)
    means = []
    for name in dict.fromkeys(line["set"] for line in lines):
        mine = [line for line in lines if line["set"] == name]
        gains = {c: [100 * (x[c] - x["LogisticRegression"]) for x in mine if c in x] for c in columns}
        means.append({c: np.mean(g) for c, g in gains.items() if g})
        cells = [
            f"{np.mean(g):+7.2f} ±{1.96 * np.std(g, ddof=1) / np.sqrt(len(g)):5.2f}" if len(g) > 1 else " " * 14 for g in gains.values()
        ]
        yield f"{name:<{wide}} {100 * np.mean([x['LogisticRegression'] for x in mine]):5.1f} " + " ".join(f"{c:>14}" for c in cells)
    overall = [f"{np.mean([m[c] for m in means if c in m]):+7.2f}" for c in columns]
    yield f"{'mean':<{wide}}       " + " ".join(f"{c:>14}" for c in overall)


if __name__ == "__main__":
    main()
