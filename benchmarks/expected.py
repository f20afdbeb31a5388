"""Does the accuracy that `adapt` prints hold? Expected accuracy, its 95% interval and the probabilities, against the rest of the rows.

    OMP_NUM_THREADS=1 python benchmarks/expected.py KIT --out expected.jsonl [--sets pacs trec6] [--shots 2 5 8 16] [--draws 20]

Every draw takes `shots` labelled examples of each class as `benchmarks/heads.py` does, lets `adapt`'s frozen part choose, fits and
calibrate by them, and measures the saved model on all other examples of these classes (at most 100 of a class are kept). One JSON line a
draw; at the end two tables. "held": how often the interval held the measured accuracy, and in brackets, how often it does when the bound
is widened by the sampling error of the measurement itself (1.96 sqrt(a (1 - a) / rows), added in squares): Omniglot leaves 60 rows at
16 labels. ECE: over 15 bins, of the answers of all draws of a set together, and the mean over single draws; in brackets what a model
with perfect probabilities would show on as few rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from heads import MOST_ROWS, drawn, given_by, opened, usable

from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.row_space import RowSpace
from fewtune.learners.choice import Choice
from fewtune.learners.side import Side
from fewtune.models.fitting import fit_head
from fewtune.recipes.default_learners import candidates
from fewtune.statistics import expected_calibration_error, softmax

BINS, SIMULATED = 15, 20


def main() -> None:
    given = given_by(__doc__, shots=[2, 5, 8, 16])
    with given.out.open("a") as out:
        for name in given.sets:
            examples, backbone = opened(given.kit, name)
            side = Side(backbone, feature_table(backbone, RowSpace([examples]), folder=given.cache, quiet=True).features)
            for shots in given.shots:
                classes = usable(examples, given.part, shots)
                for seed in range(given.draws):
                    taken, rows, labels, asked, truth = drawn(examples, classes, shots, seed, MOST_ROWS)
                    line = measured(side, rows, labels, tuple(examples.class_names[c] for c in taken), asked, truth, seed)
                    out.write(json.dumps({"set": name, "part": given.part, "shots": shots, "seed": seed, **line}) + "\n")
                    out.flush()
    print("\n".join(tables([json.loads(line) for line in given.out.read_text().splitlines()])))


def measured(side: Side, rows: Any, labels: Any, names: Sequence[str], asked: Sequence[int], truth: Any, seed: int) -> dict[str, Any]:
    """What the frozen part of `adapt` says of one draw, and what is true of it."""
    began = time.process_time()
    preparation = side.backbone.preparation
    methods = candidates(label_side=side.backbone.label_side, modality=preparation.modality, rows=len(rows))
    choice = side.choose(methods, rows, labels, names, seed)
    seconds = time.process_time() - began
    p = answered(choice, side, rows, labels, names, asked)
    right = p.argmax(1) == truth
    bins = np.clip(np.ceil(p.max(1) * BINS).astype(int) - 1, 0, BINS - 1)
    random = np.random.default_rng(seed)
    cumulative = p.cumsum(1)
    drawn_labels = [np.minimum((random.random((len(p), 1)) > cumulative).sum(1), p.shape[1] - 1) for _ in range(SIMULATED)]
    assert choice.expected is not None
    return {
        "ways": len(names),
        "chosen": choice.name,
        "seconds": seconds,
        "expected": [choice.expected.mean, choice.expected.low, choice.expected.high],
        "slope": choice.slope.value,
        "truth": float(right.mean()),
        "asked": len(asked),
        "temperature": choice.temperature,
        "gaps": np.bincount(bins, weights=right - p.max(1), minlength=BINS).tolist(),
        "ece": expected_calibration_error(p, truth, BINS),
        "ece_perfect": float(np.mean([expected_calibration_error(p, y, BINS) for y in drawn_labels])),
    }


def answered(choice: Choice, side: Side, rows: Any, labels: Any, names: Sequence[str], asked: Sequence[int]) -> Any:
    """The saved model's probabilities for other rows."""
    method = choice.method
    state, parameters = fit_head(method, side.features, rows, labels, len(names), side.vectors(method, names))
    return softmax(method.head.score(state, side.features[list(asked)][None], parameters)[0].double().numpy(), choice.temperature)


def tables(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One table by set and one by labels a class."""
    yield "| set | expected - true | held | mean width | ECE, 8 labels: together | single draws |"
    yield "|---|---|---|---|---|---|"
    sets = list(dict.fromkeys(x["set"] for x in lines))
    for name in sets:
        yield row(name, [x for x in lines if x["set"] == name])
    yield row("all", lines)
    yield ""
    yield "| labels a class | expected - true | held | mean width | ECE: together, mean over sets | single draws |"
    yield "|---|---|---|---|---|---|"
    for shots in sorted({x["shots"] for x in lines}):
        yield row(str(shots), [x for x in lines if x["shots"] == shots], shots)


def row(name: str, lines: Sequence[Mapping[str, Any]], shots: int = 8) -> str:
    """One line of a table; the errors of calibration are of draws with `shots` labels."""
    errors = np.array([x["expected"][0] - x["truth"] for x in lines])
    held = [x["expected"][1] <= x["truth"] <= x["expected"][2] for x in lines]
    width = np.mean([x["expected"][2] - x["expected"][1] for x in lines])
    mine = [x for x in lines if x["shots"] == shots]
    together = [pooled([x for x in mine if x["set"] == s]) for s in dict.fromkeys(x["set"] for x in mine)]
    error = 1.96 * errors.std(ddof=1) / np.sqrt(len(errors))
    calibration = f"{np.mean(together):.3f} | {np.mean([x['ece'] for x in mine]):.3f} ({np.mean([x['ece_perfect'] for x in mine]):.3f})"
    return (
        f"| {name} | {100 * errors.mean():+.1f} ± {100 * error:.1f} | {100 * np.mean(held):.0f}% "
        f"({100 * np.mean([nearly_held(x) for x in lines]):.0f}%) | {100 * width:.0f} | {calibration} |"
    )


def nearly_held(line: Mapping[str, Any]) -> bool:
    """Whether the interval, widened by the sampling error of the measurement, holds the measured accuracy."""
    (mean, low, high), truth = line["expected"], line["truth"]
    bound = high - mean if truth > mean else mean - low
    return bool(abs(truth - mean) <= np.sqrt(bound**2 + 1.96**2 * truth * (1 - truth) / line["asked"]))


def pooled(lines: Sequence[Mapping[str, Any]]) -> float:
    """The expected calibration error of the answers of several draws together."""
    return float(np.abs(np.sum([x["gaps"] for x in lines], axis=0)).sum() / sum(x["asked"] for x in lines))


if __name__ == "__main__":
    main()
