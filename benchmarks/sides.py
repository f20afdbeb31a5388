"""Do settings that are chosen on inner folds, greedy ensembles, or features of two sides beside each other help finetuning on own labels?

    OMP_NUM_THREADS=1 python benchmarks/sides.py KIT --out sides [--sets clothing10 trec6] [--shots 8 16] [--draws 2] [--minutes 40]

A draw is that of `benchmarks/adapting.py`: `shots` labels a class, up to 40 other examples of each class to measure on. Every setting is
finetuned on each of two folds, which it answers, and on all labels. The folder --out gets one .npz file a draw with all answers; what is
there is not run again, and no draw begins after so many `--minutes` of processor time. At the end, or alone with --tables, the table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapting import drawn
from heads import IMAGES, opened

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.learners.side import Side
from fewtune.learners.target import usable_target
from fewtune.learners.usual import prior_of
from fewtune.learning.method import Method
from fewtune.models.fitting import fit_head
from fewtune.recipes import read_method
from fewtune.recipes.default_learners import candidates
from fewtune.sides.held_out import HeldOut, mean_of, outer_splits
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.route import side_of
from fewtune.statistics import greedy_weights, t_interval

FOLDS = 2
PHOTO = "contrastive(on='support', lr=Cosine(lr={lr}), last={last}, head_lr=0.01)"
TEXT = "contrastive(on='support', lr=Cosine(lr={lr}), last={last})"
DEFAULT = "default"
SETTINGS: dict[str, dict[str, str]] = {
    "image": {
        DEFAULT: PHOTO.format(lr=3e-4, last=6),
        "rate / 3": PHOTO.format(lr=1e-4, last=6),
        "rate x 3": PHOTO.format(lr=9e-4, last=6),
        "half the depth": PHOTO.format(lr=3e-4, last=3),
        "twice the depth": PHOTO.format(lr=3e-4, last=12),
    },
    "text": {
        DEFAULT: TEXT.format(lr=1e-4, last=3),
        "rate / 3": TEXT.format(lr=3e-5, last=3),
        "rate x 3": TEXT.format(lr=3e-4, last=3),
        "a third of the depth": TEXT.format(lr=1e-4, last=1),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["clothing10", "trec6", "pacs", "tweet_emotion4"])
    parser.add_argument("--shots", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in range(0 if given.tables else given.draws):
        for shots in given.shots:
            for name in given.sets:
                path = given.out / f"{name} {shots} {seed}.npz"
                if not path.exists() and time.process_time() < 60 * given.minutes:
                    examples, backbone = opened(given.kit, name)
                    np.savez(path, **measured(examples, backbone, shots, seed))
    print(table(given.out))


def measured(examples: Examples, backbone: Backbone, shots: int, seed: int) -> dict[str, Any]:
    """One draw's logits: `held SETTING` [1, N, K] of the labelled examples, `rest SETTING` [A, K] of the others; `labels`, `truth`."""
    chosen, rest = drawn(examples, "test", shots, seed)
    target = usable_target(chosen, backbone, cache=None, skip_bad=False, quiet=True)
    methods = candidates(label_side=backbone.label_side, modality=backbone.preparation.modality, rows=len(target.support))
    usual = prior_of(methods)
    assert usual is not None
    method, ridge = methods[usual], read_method("ridge")
    began = time.process_time()
    asked, labels = RowSpace([rest]), target.labels[target.support]
    names = {name: i for i, name in enumerate(target.class_names)}
    found: dict[str, Any] = {"labels": labels, "truth": np.array([names[rest.class_names[c]] for c in rest.labels])}
    before = side_of(backbone, asked, np.arange(len(rest))).features
    frozen = Side(backbone, target.features)
    splits = outer_splits(target, seed, FOLDS, 1)
    assert splits.episodes is not None
    folds = [tuple(t[e][t[e] >= 0].numpy() for t in (splits.episodes.support, splits.episodes.query)) for e in range(FOLDS)]
    place = {int(row): i for i, row in enumerate(target.support)}

    def answered(method: Method, side: Side, rows: Any, questions: torch.Tensor) -> Any:
        y = labels[[place[int(row)] for row in rows]]
        vectors = None if not method.head.reads_classes else side.vectors(method, target.class_names)
        state, parameters = fit_head(method, side.features, rows, y, len(names), vectors)
        return method.head.score(state, questions[None], parameters)[0].double().detach().numpy()

    def told(what: str, method: Method, made: Any, after: Any) -> None:
        held = np.zeros((1, len(labels), len(names)))
        for side, (train, out) in zip(made[:-1], folds, strict=True):
            held[0, [place[int(row)] for row in out]] = answered(method, side, train, side.features[torch.from_numpy(out)])
        found[f"held {what}"], found[f"rest {what}"] = held, answered(method, made[-1], target.support, after)

    told("frozen", method, [frozen] * (FOLDS + 1), before)
    for setting, recipe in SETTINGS[backbone.preparation.modality].items():
        tuner = OwnTuner(target, RowSpace([target.examples], remember=1 << 30), backbone, own_method(recipe), seed)
        made = [tuner.made(rows).side for rows in (*(train for train, _ in folds), target.support)]
        after = side_of(made[-1].backbone, asked, np.arange(len(rest))).features
        told(setting, method, made, after)
        if setting == DEFAULT:
            both = [Side(backbone, torch.cat([target.features, one.features], dim=1)) for one in made]
            told("ridge beside", ridge, both, torch.cat([before, after], dim=1))
    return {**found, "seconds": time.process_time() - began}


def accuracies(path: Path) -> dict[str, float]:
    """Accuracy on the rest of each setting, of what is chosen, and of ensembles."""
    kept = np.load(path)
    labels, truth = kept["labels"], kept["truth"]
    modality = "image" if path.name.split()[0] in IMAGES else "text"
    settings = list(SETTINGS[modality])
    held = {name: HeldOut(kept[f"held {name}"], labels) for name in ("frozen", *settings)}
    asked = {name: HeldOut(kept[f"rest {name}"][None] / held[name].temperature, truth) for name in held}

    def right(logits: Any) -> float:
        return 100 * float((logits.argmax(-1) == truth).mean())

    def loss(name: str) -> float:
        return -float(held[name].log_probabilities[0, np.arange(len(labels)), labels].mean())

    def greedy(names: list[str]) -> float:
        weights = greedy_weights(np.stack([held[n].log_probabilities[0] for n in names]), labels)
        return right(np.tensordot(weights, np.stack([_logs(asked[n]) for n in names]), 1))

    found = {name: right(kept[f"rest {name}"]) for name in held}
    found["chosen by log-loss"] = found[min(settings, key=loss)]
    found["chosen by accuracy"] = found[max(settings, key=lambda n: (float(held[n].correct.mean()), -loss(n)))]
    found["best of them (not known)"] = max(found[n] for n in settings)
    found["mean with frozen"] = right(sum(_logs(asked[n]) for n in ("frozen", DEFAULT)))
    found["greedy with frozen"] = greedy(["frozen", DEFAULT])
    found["mean of all"] = right(sum(_logs(one) for one in asked.values()))
    found["greedy of all"] = greedy(list(held))
    found["ridge beside"] = right(kept["rest ridge beside"])
    found["held-out mean with frozen"] = 100 * float(mean_of([held["frozen"], held[DEFAULT]]).correct.mean())
    found["held-out ridge beside"] = 100 * float(HeldOut(kept["held ridge beside"], labels).correct.mean())
    return found


def _logs(answers: HeldOut) -> Any:
    """Log-probabilities [A, K] of logits that are calibrated already."""
    logits = answers.logits[0]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def table(folder: Path) -> str:
    """A line a draw with the fixed default and points beyond it; then the mean over draws with a 95% interval (t)."""
    lines = {path.stem: accuracies(path) for path in sorted(folder.glob("*.npz"))}
    out = []
    for stem, one in lines.items():
        points = "; ".join(f"{name} {value - one[DEFAULT]:+.1f}" for name, value in one.items() if name != DEFAULT)
        out.append(f"{stem}: default {one[DEFAULT]:.1f}; {points}")
    for against in (DEFAULT, "mean with frozen"):
        for name in dict.fromkeys(n for one in lines.values() for n in one):
            gains = [one[name] - one[against] for one in lines.values() if name in one]
            if len(gains) > 1 and name != against and "held-out" not in name:
                interval = t_interval(np.array(gains))
                out.append(f"{name} - {against}: {interval.mean:+.1f} +- {interval.half_width:.1f} ({len(gains)} draws)")
    return "\n".join(out)


if __name__ == "__main__":
    main()
