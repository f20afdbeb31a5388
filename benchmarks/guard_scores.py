"""Would the guard see more if it looked at probabilities too? Rules on the simulated targets of benchmarks/guard.py.

    OMP_NUM_THREADS=1 python benchmarks/guard_scores.py --out scores.jsonl [--draws 100] [--seed 0]

Scores of a row: `soft`, what the guard looks at (`soft_correctness`: whether it is right, less where the side hardly decides), and
`p`, the probability of the right class, after the temperature that suits the side's held-out answers. Evidence: three passes of
the folds, joined with other data where there is some. Rules: a gain by `soft` at 95%; a gain by `p` at 95%; both at once, at levels of
their own. The figures are shares of draws in which some rival is shown to gain, in percent with 95% Wilson intervals.

Targets: a true gain of 5 points (64 rows, six cases); no gain (seven cases of 30, 64 and 200 rows; one rival, and two); and the frozen side
is bold at random, so that log-loss alone gains (64 and 200 rows, with other data that gains nothing, and without).

The aim, set before any of this was run: a rule that shows a gain of 5 points in 62% of the draws (twice what a bootstrap of the 0/1
differences did) and errs in 5% at most. It must hold where log-loss alone gains, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from guard import BATCH, Array, Setting, base, log_softmax, other_data, signal_for, target

from fewtune.statistics import (
    evidence_of_classes,
    evidence_of_rows,
    fit_temperature,
    joined_evidence,
    paired_gain,
    soft_correctness,
    wilson_interval,
)

RULES = {"soft": (0.05, 1.0), "p": (1.0, 0.05), "both, .05": (0.05, 0.05), "soft .10, p .05": (0.1, 0.05), "soft .10, p .01": (0.1, 0.01)}


def probability(logs: Array, labels: Array) -> Array:
    """Of the right class, calibrated: [R, N] from log-probabilities [R, N, K]."""
    r, n, k = logs.shape
    temperature = fit_temperature(logs.reshape(r * n, k), np.tile(labels, r))
    found: Array = np.exp(log_softmax(logs / temperature)[:, np.arange(n), labels])
    return found


def settings(seed: int) -> Iterator[tuple[str, Setting]]:
    for k, low, rho in ((2, True, 0.9), (2, False, 0.9), (8, True, 0.9), (8, False, 0.9), (8, False, 0.6), (16, False, 0.9)):
        frozen = base(k, low)
        better = signal_for(5, Setting(64, k, (frozen,), rho=rho), np.random.default_rng(seed))
        yield "gain of 5", Setting(64, k, (frozen, better), rho=rho, related=(frozen, better))
    for n, k in ((30, 2), (30, 5), (64, 2), (64, 8), (64, 16), (200, 2), (200, 10)):
        signals = (base(k, k in (2, 5, 10)),) * 3
        yield "no gain", Setting(n, k, signals, rho=0.6 if k in (2, 5, 16) else 0.9, related=signals)
    for n, k in ((64, 8), (200, 10)):
        bold = Setting(n, k, (1.0, 1.0), rho=0.9, bold=0.8)
        yield "log-loss alone gains", bold
        yield "log-loss alone gains", replace(bold, related=(1.0, 1.0))


def p_values(setting: Setting, count: int, seed: int) -> Iterator[dict[str, list[dict[str, float]]]]:
    """For each draw and each number of rivals, the p of every rival by both scores; 1 where its own rows gain nothing."""
    random = np.random.default_rng([seed, setting.rows, setting.ways])
    for _ in range(-(-count // BATCH)):
        logs, labels, folds, _ = target(setting, random)
        others = other_data(setting, random) if setting.related else None
        for b in range(BATCH):
            sides = [side[:, b].astype(np.float64) for side in logs]
            scored = {"soft": [soft_correctness(x, labels) for x in sides], "p": [probability(x, labels) for x in sides]}
            found: dict[str, list[dict[str, float]]] = {}
            for m in sorted({1, len(sides) - 1}):
                names = [str(i) for i in range(1, m + 1)]
                p: list[dict[str, float]] = [{} for _ in names]
                for score, values in scored.items():
                    evidence = evidence_of_rows(values[0], {i: values[int(i)] for i in names}, folds)
                    if others is not None:
                        classes = {i: others[int(i)][:, b] - others[0][:, b] for i in names}
                        evidence = joined_evidence(evidence, evidence_of_classes(classes, setting.ways))
                    for one, i in zip(p, names, strict=True):
                        gain = paired_gain(evidence, side=i)
                        one[score] = 1.0 if gain.own <= 0 else gain.p
                found[str(m)] = p
            yield found


def table(lines: list[dict[str, Any]]) -> str:
    """A line a kind of target and number of rivals."""
    out = ["| target | rivals | " + " | ".join(RULES) + " |", "|---" * (len(RULES) + 2) + "|"]
    for title in dict.fromkeys(x["title"] for x in lines):
        mine = [draw for x in lines if x["title"] == title for draw in x["draws"]]
        for m in sorted({m for draw in mine for m in draw}):
            cells = []
            for soft, p in RULES.values():
                hits = [any(one["soft"] <= soft and one["p"] <= p for one in draw[m]) for draw in mine if m in draw]
                over = wilson_interval(sum(hits), len(hits))
                cells.append(f"{100 * over.mean:.1f} ({100 * over.low:.1f} to {100 * over.high:.1f})")
            out.append(f"| {title} | {m} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with given.out.open("a") as out:
        for title, setting in settings(given.seed):
            draws = list(p_values(setting, given.draws, given.seed))
            out.write(json.dumps({"title": title, "rows": setting.rows, "ways": setting.ways, "draws": draws}) + "\n")
            out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
