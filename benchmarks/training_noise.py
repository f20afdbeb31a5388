"""How much does the accuracy of one finetuning run differ from the next, on the same labels?

    OMP_NUM_THREADS=1 python benchmarks/training_noise.py KIT --part train --out noise.jsonl --sets dtd10 cifar10 --shots 16 --draws 5

Draws of photos as in benchmarks/adapting.py, labelled rows and asked rows by seed 0. The backbone is finetuned on all labels `draws` times,
each time with another seed, and the learner that is usual there answers. The variance of the accuracy over runs, less what runs that
disagree on so few asked rows would show anyway, in units of p (1 - p): `RUNS` of `fewtune.statistics.expected`. One JSON line a set and
number of labels; the last line is the mean.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from adapting import drawn
from calibrating import LEARNERS, logits, tuner_of
from heads import given_by, opened

from fewtune.data.row_space import RowSpace
from fewtune.learners.target import usable_target
from fewtune.sides.route import side_of

ANSWERS = LEARNERS["without Gaussian"]


def main() -> None:
    given = given_by(__doc__, shots=[16])
    with given.out.open("a") as out:
        for shots in given.shots:
            for name in given.sets:
                right = right_of(given, name, shots)
                line = {"set": name, "shots": shots, "accuracies": right.mean(1).round(4).tolist(), "runs": between_runs(right)}
                out.write(json.dumps(line) + "\n")
                out.flush()
    found = [json.loads(line) for line in given.out.read_text().splitlines()]
    for line in found:
        print(line)
    print(f"mean: {np.mean([line['runs'] for line in found]):.5f}")


def right_of(given: Any, name: str, shots: int) -> np.ndarray[Any, Any]:
    """Which of the asked rows are answered rightly after finetuning, [runs, rows]; every run has a seed of its own."""
    examples, backbone = opened(given.kit, name)
    labelled, rest = drawn(examples, given.part, shots, 0)
    target = usable_target(labelled, backbone, cache=given.cache, skip_bad=False, quiet=True)
    names, labels = {c: i for i, c in enumerate(target.class_names)}, target.labels[target.support]
    truth, there = np.array([names[rest.class_names[c]] for c in rest.labels]), RowSpace([rest])
    right = []
    for seed in range(given.draws):
        side = tuner_of(target, backbone, seed).made(target.support).side
        asked = side_of(side.backbone, there, np.arange(len(rest))).features
        right.append(logits(ANSWERS, side.features, target.support, labels, len(names), asked).argmax(1) == truth)
    return np.stack(right)


def between_runs(right: np.ndarray[Any, Any]) -> float:
    """The variance over runs of the accuracy on all rows that could be asked, in units of p (1 - p); unbiased, so it may be below 0.

    `right` [R, A]. Rows are a sample: the mean over pairs of rows of their covariance over runs is what remains with many rows.
    """
    rows = right.shape[1]
    seen, apart = right.mean(1).var(ddof=1), right.var(axis=0, ddof=1).mean() / rows
    p = right.mean()
    return float((seen - apart) * rows / (rows - 1) / (p * (1 - p)))


if __name__ == "__main__":
    main()
