"""Episodes sampled a second, one CPU thread: `python benchmarks/sampling.py`. Prints one JSON object a line.

100 classes of 200 rows, 5-way, 15 queries a class, as integers ready for a head. Beside it, in the same run, the same episodes drawn the
usual way: NumPy's Generator.choice without replacement, class by class.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from fewtune.keys import key
from fewtune.tasks.hard import Hard, nearest_classes
from fewtune.tasks.samplers import Imbalanced, Sampled, Sampler, Varied
from fewtune.tasks.task import Tasks

CLASSES, ROWS, EPISODES, REPEATS = 100, 200, 20_000, 7


def rates(run: Callable[[int], object], count: int) -> list[float]:
    """Episodes a second of `REPEATS` runs after one that warms up."""
    run(count)
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run(count)
        found.append(count / (time.perf_counter() - began))
    return found


def usual(count: int, shots: int) -> None:
    """A loop over episodes and classes."""
    random = np.random.default_rng(0)
    for _ in range(count):
        for c in random.choice(CLASSES, 5, replace=False):
            rows = c * ROWS + random.choice(ROWS, shots + 15, replace=False)
            rows[:shots], rows[shots:]


def main() -> None:
    torch.set_num_threads(1)
    one = np.arange(CLASSES)
    tasks = Tasks(np.arange(CLASSES * ROWS), one * ROWS, np.full(CLASSES, ROWS), one, one, np.array([0, CLASSES]), ("all",))
    near = nearest_classes(tasks, np.random.default_rng(0).normal(size=(CLASSES, 64)))
    samplers: list[tuple[str, Sampler, int]] = [
        ("Sampled 1-shot", Sampled(shots=1), EPISODES),
        ("Sampled 5-shot", Sampled(shots=5), EPISODES),
        ("Hard 1-shot", Hard(shots=1, among=20), EPISODES),
        ("Imbalanced", Imbalanced(), EPISODES // 4),
        ("Varied (Meta-Dataset)", Varied(), EPISODES // 40),
    ]
    for name, sampler, count in samplers:
        drawn_from = near if isinstance(sampler, Hard) else tasks
        mine = rates(lambda n, s=sampler, t=drawn_from: s.draw(t, key(0, "bench"), 0, n), count)
        print(json.dumps({"what": name, "episodes_per_s": round(statistics.median(mine)), "best": round(max(mine))}), flush=True)
    for shots in (1, 5):
        loop = statistics.median(rates(lambda n, s=shots: usual(n, s), 500))
        mine = statistics.median(rates(lambda n, s=shots: Sampled(shots=s).draw(tasks, key(0), 0, n), EPISODES))
        ratio = {"what": f"a loop with Generator.choice, {shots}-shot", "episodes_per_s": round(loop), "ratio": round(mine / loop, 1)}
        print(json.dumps(ratio), flush=True)


if __name__ == "__main__":
    main()
