"""Are the probabilities of models that were finetuned on the labels right? With a Gaussian among what answers, and without.

    OMP_NUM_THREADS=1 python benchmarks/calibrating.py KIT --out calibrating.jsonl [--sets dtd10 pacs] [--shots 8] [--draws 1]

Draws of photos as in benchmarks/adapting.py. The backbone is finetuned on the labels, in four folds and on all of them. Two learners answer
on these features: the blend that is usual for photos, and the same without its Gaussian (`usual.without_spread`). Each is calibrated by its
held-out answers, as `adapt` does, alone and in the mean with the frozen blend. One JSON line a draw; at the end a table: accuracy,
mean confidence, the expected calibration error (ECE, 15 bins) and what perfect probabilities would show on as many photos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapting import drawn
from heads import given_by, opened
from scipy.special import log_softmax

from fewtune.adaptation.frozen import FrozenModel, choose
from fewtune.adaptation.own_labels import OwnLabels
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.backbone import Backbone
from fewtune.data.row_space import RowSpace
from fewtune.learners.side import Side
from fewtune.learners.target import Target, usable_target
from fewtune.learners.usual import without_spread
from fewtune.learning.method import Method
from fewtune.models.fitting import fit_head
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import read_method
from fewtune.sides.guard import FOLDS
from fewtune.sides.held_out import outer_splits
from fewtune.sides.own import OwnTuner
from fewtune.sides.route import side_of
from fewtune.statistics import expected_calibration_error, fit_temperature, softmax

Array = np.ndarray[Any, Any]
SETS = ("dtd10", "omniglot8", "clothing10", "pacs", "cifar10", "caltech101")
BLEND = read_method("blend")
LEARNERS = {"blend": BLEND, "without Gaussian": without_spread(BLEND)}
SIMULATED = 20


def main() -> None:
    given = given_by(__doc__, shots=[8])
    with given.out.open("a") as out:
        for seed in range(given.draws):
            for name in [one for one in given.sets if one in SETS]:
                line = measured(given.kit, name, given.shots[0], seed, given.cache)
                out.write(json.dumps({"set": name, "shots": given.shots[0], "seed": seed, **line}) + "\n")
                out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def measured(kit: Path, name: str, shots: int, seed: int, cache: Path | None) -> dict[str, Any]:
    """[accuracy, confidence, ECE, ECE of perfect probabilities] of both learners, alone and in the mean with the frozen blend."""
    examples, backbone = opened(kit, name)
    labelled, rest = drawn(examples, "test", shots, seed)
    target = usable_target(labelled, backbone, cache=cache, skip_bad=False, quiet=True)
    tuner, folds = tuner_of(target, backbone, seed), outer_splits(target, seed, FOLDS, 1).episodes
    assert folds is not None
    names = {c: i for i, c in enumerate(target.class_names)}
    truth, labels = np.array([names[rest.class_names[c]] for c in rest.labels]), target.labels
    held = {what: np.full((len(labels), len(names)), np.nan) for what in ("frozen", *LEARNERS)}
    for support, query in zip(folds.support, folds.query, strict=True):
        train, asked = (rows[rows >= 0].numpy() for rows in (support, query))
        made = tuner.made(train).side.features
        for what, method, features in each(target.features, made):
            held[what][asked] = logits(method, features, train, labels[train], len(names), features[torch.from_numpy(asked)])
    whole, there = tuner.made(target.support).side, RowSpace([rest])
    asked_of = {
        "frozen": side_of(backbone, there, np.arange(len(rest))).features,
        "tuned": side_of(whole.backbone, there, np.arange(len(rest))).features,
    }
    answers = {}
    for what, method, features in each(target.features, whole.features):
        new = asked_of["frozen" if what == "frozen" else "tuned"]
        answers[what] = logits(method, features, target.support, labels[target.support], len(names), new)
    return dict(judged({k: v[target.support] for k, v in held.items()}, answers, labels[target.support], truth))


def tuner_of(target: Target, backbone: Backbone, seed: int) -> OwnTuner:
    """What finetunes on the labels of a target of photos, as `adapt` does first."""
    frozen, how = Side(backbone, target.features), AdaptSettings(seed=seed)
    methods = candidates(label_side=backbone.label_side, modality="image", rows=len(target.support))
    own = OwnLabels(FrozenModel(target, frozen, methods, choose(frozen, methods, target, how)), how)
    return own.tuner(own.recipes[0])


def each(frozen: torch.Tensor, tuned: torch.Tensor) -> Iterator[tuple[str, Method, torch.Tensor]]:
    yield "frozen", BLEND, frozen
    for name, method in LEARNERS.items():
        yield name, method, tuned


def logits(method: Method, features: torch.Tensor, rows: Array, labels: Array, ways: int, asked: torch.Tensor) -> Array:
    """[A, K] of a learner fitted on some rows."""
    state, parameters = fit_head(method, features, rows, labels, ways, None)
    with torch.inference_mode():
        found: Array = method.head.score(state, asked[None], parameters)[0].double().numpy()
    return found


def judged(held: dict[str, Array], answers: dict[str, Array], labels: Array, truth: Array) -> Iterator[tuple[str, list[float]]]:
    temperatures = {what: fit_temperature(logs, labels) for what, logs in held.items()}
    for what in LEARNERS:
        yield what, calibration(softmax(answers[what], temperatures[what]), truth)
        pair = ("frozen", what)
        together = np.mean([log_softmax(held[one] / temperatures[one], axis=1) for one in pair], axis=0)
        mean = np.mean([answers[one] / temperatures[one] for one in pair], axis=0)
        yield f"mean with frozen, {what}", calibration(softmax(mean, fit_temperature(together, labels)), truth)


def calibration(p: Array, truth: Array) -> list[float]:
    random, cumulative = np.random.default_rng(0), p.cumsum(1)
    drawn_labels = [np.minimum((random.random((len(p), 1)) > cumulative).sum(1), p.shape[1] - 1) for _ in range(SIMULATED)]
    perfect = float(np.mean([expected_calibration_error(p, y) for y in drawn_labels]))
    return [float((p.argmax(1) == truth).mean()), float(p.max(1).mean()), expected_calibration_error(p, truth), perfect]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A line for each learner: means over draws."""
    out = [f"{len(lines)} draws", "| | accuracy | confidence | ECE | perfect |", "|---" * 5 + "|"]
    for what in [key for key in lines[0] if key not in ("set", "shots", "seed")]:
        accuracy, confidence, error, perfect = np.mean([x[what] for x in lines], axis=0)
        out.append(f"| {what} | {100 * accuracy:.1f} | {100 * confidence:.1f} | {error:.3f} | {perfect:.3f} |")
    return "\n".join(out)


if __name__ == "__main__":
    main()
