"""Learned from three domains, asked on the fourth: the mean of the losses, group DRO and the worst case on PACS.

    OMP_NUM_THREADS=1 python benchmarks/unseen_domain.py KIT OUT.jsonl [--seeds 0 1]   # a JSON line a seed, 3 minutes each

Written down before it was run. MobileNetV2 at 96 pixels, rows as in `merging.py` (50 photos a class and domain to learn from, up to 50
others to be judged by). Each of the four domains is left out once. Blocks 4 to 6, the last layer (.0002) and a new head (.001) move in 50
updates of 8 photos of each of the three domains (Adam, rates fall along a cosine); what differs is how the three losses are weighed:
`Mean()`, `GroupDro(rate=.1)` (its .01 is meant for thousands of updates), `WorstCase()`. Nothing is tuned. Asked, in pairs by seed and
domain: is the domain that was left out answered better than after `Mean()`; is the worst of the three others?
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from by_seed import lines_of, parser_of, shown
from merging import GROUPS, HEAD_RATE, RATE, Domains

from fewtune.keys import key
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.parts.aggregators import Aggregator, GroupDro, Mean, WorstCase
from fewtune.parts.heads import Linear
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Cosine
from fewtune.tasks.per_task import PerTask

WAYS: dict[str, Aggregator] = {"Mean()": Mean(), "GroupDro(rate=.1)": GroupDro(rate=0.1), "WorstCase()": WorstCase()}
STEPS, BATCH = 50, 8


def trained(domains: Domains, learned: Sequence[int], way: Aggregator) -> Mapping[str, Any]:
    """The weights after training on some of the domains, each a task."""
    tasks, rate = domains.tasks.take(learned), Cosine(lr=RATE)
    phase = Phase(
        sampler=PerTask(batch=BATCH),
        learner=Linear(rows="class", start="random", name="source"),
        plan=Plan(rules=(("source.*", Cosine(lr=HEAD_RATE)), *((f"group:{g}", rate) for g in GROUPS), ("*", 0.0))),
        steps=STEPS,
        batch=len(tasks),
        aggregator=way,
        optimizer=AdamW(weight_decay=0.0),
    )
    found = train(domains.ground, (phase,), tasks, key(domains.seed, "unseen domain"))
    return {**domains.begun, **{n: t for n, t in found.weights.items() if n in found.moved or n not in domains.begun}}


def line_of(kit: Path, seed: int) -> dict[str, Any]:
    """One seed: accuracy of every way on every domain, by the domain that was left out."""
    domains, accuracy = Domains(kit, seed), {}
    for out, left in enumerate(domains.names):
        accuracy[left] = {}
        for name, way in WAYS.items():
            weights = trained(domains, [d for d in range(len(domains.names)) if d != out], way)
            accuracy[left][name] = {d: float(domains.right(domains.logits(weights, d), d).mean()) for d in domains.names}
    return {"seed": seed, "accuracy": accuracy, "seconds": time.process_time()}


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    lefts = list(lines[0]["accuracy"])
    print(f"{len(lines)} seeds\n\n| losses weighed by | {' | '.join(lefts)} | unseen, mean | minus Mean() | worst seen | minus Mean() |")
    print("|---|" + "--:|" * (len(lefts) + 4))

    def of(name: str, what: str) -> np.ndarray[Any, np.dtype[np.float64]]:  # [seeds, domains left out]
        def one(left: str, found: Mapping[str, float]) -> float:
            return found[left] if what == "unseen" else min(value for d, value in found.items() if d != left)

        return np.array([[100 * one(left, line["accuracy"][left][name]) for left in lefts] for line in lines])

    for name in WAYS:
        cells = [f"{value:.1f}" for value in of(name, "unseen").mean(0)]
        for what in ("unseen", "worst"):
            gain = of(name, what) - of("Mean()", what)  # pairs of a seed and a domain that was left out
            cells += [f"{of(name, what).mean():.1f}", "" if name == "Mean()" else shown(gain.ravel(), sign=True)]
        print(f"| `{name}` | {' | '.join(cells)} |")


def main() -> None:
    asked = parser_of(__doc__, range(2)).parse_args()
    tables(lines_of(asked, lambda seed: line_of(asked.kit, seed)))


if __name__ == "__main__":
    main()
