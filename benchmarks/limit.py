"""Episodes a CPU second of frozen evaluation, as `compare` does it: drawing, answering and judging. One CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/limit.py [centroid] [ridge] [logistic] [drawing]

20,000 x 384 random unit features of 100 classes, 5-way, 15 queries a class; the median of REPEATS rounds of process time, in which the ways
take turns. The plain path (torch, and episodes drawn by NumPy) stands beside compiled kernels (the extra `fast`), on a float32 table and on
one of bfloat16. Ratios are those to compare between machines. Last, how far the losses and answers are from the plain path's.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from fewtune.evaluation.answers import Scores, score_table
from fewtune.keys import key
from fewtune.parts.heads import Centroid, Logistic, Ridge
from fewtune.parts.heads.head import Head
from fewtune.tasks import draw
from fewtune.tasks.samplers import Sampled, Varied
from fewtune.tasks.task import Tasks

CLASSES, ROWS, WIDTH, REPEATS = 100, 200, 384, 5
TAKEN = draw.taken


def drawing(compiled: bool) -> None:
    """Episodes are drawn by the kernel, or by NumPy."""
    draw.taken = lambda _asked, rows: compiled and rows > 0


def rates(ways: Mapping[str, Callable[[], object]], episodes: int) -> dict[str, float]:
    """Episodes a CPU second of each way, the median over rounds."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(REPEATS + 1):  # the first compiles
        for name, work in ways.items():
            began = time.process_time()
            work()
            if number:
                found[name].append(episodes / (time.process_time() - began))
    return {name: statistics.median(every) for name, every in found.items()}


def made() -> tuple[torch.Tensor, Tasks]:
    random = np.random.default_rng(0)
    middle = random.normal(size=(CLASSES, 1, WIDTH))
    features = torch.from_numpy((middle + 2 * random.normal(size=(CLASSES, ROWS, WIDTH))).reshape(-1, WIDTH).astype(np.float32))
    one = np.arange(CLASSES)
    tasks = Tasks(np.arange(CLASSES * ROWS), one * ROWS, np.full(CLASSES, ROWS), one, one, np.array([0, CLASSES]), ("all",))
    return torch.nn.functional.normalize(features, dim=1), tasks


def main() -> None:
    torch.set_num_threads(1)
    features, tasks = made()
    rounded = features.bfloat16()
    heads: list[tuple[str, Head, int]] = [
        ("centroid", Centroid(), 1500),
        ("ridge", Ridge(penalty=1.0), 1000),
        ("logistic", Logistic(), 400),
    ]
    print("| head | shots | plain | kernels | ratio | kernels, bfloat16 | ratio | loss off by | other answers | bfloat16: loss, answers |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    asked = sys.argv[1:] or ["centroid", "ridge", "logistic", "drawing"]
    for name, head, count in heads:
        if name not in asked:
            continue
        for shots in (1, 5):
            sampler = Sampled(ways=5, shots=shots, queries=15)

            def scored(table: torch.Tensor, fast: bool) -> Scores:
                drawing(fast)
                return score_table(head, table, sampler.draw(tasks, key(0), 0, count), None, fast=fast)  # noqa: B023

            ways = {"plain": lambda: scored(features, False), "fast": lambda: scored(features, True), "half": lambda: scored(rounded, True)}
            rate = rates(ways, count)
            plain, fast, half = (scored(table, how) for table, how in ((features, False), (features, True), (rounded, True)))
            off = [(abs(one.loss - plain.loss).max(), (one.right != plain.right).mean()) for one in (fast, half)]
            ratio = f"{rate['fast']:,.0f} | {rate['fast'] / rate['plain']:.2f} | {rate['half']:,.0f} | {rate['half'] / rate['plain']:.2f}"
            said = f"{off[0][0]:.1e} | {off[0][1]:.1e} | {off[1][0]:.1e}, {off[1][1]:.1e}"
            print(f"| {name} | {shots} | {rate['plain']:,.0f} | {ratio} | {said} |", flush=True)
    print("\n| episodes drawn | plain | kernel | ratio |\n|---|--:|--:|--:|")
    kinds = (("Varied", Varied()), ("Sampled 1-shot", Sampled(shots=1)), ("Sampled 5-shot", Sampled(shots=5)))
    for kind, each in kinds if "drawing" in asked else ():

        def drawn(compiled: bool) -> object:
            drawing(compiled)
            return each.draw(tasks, key(0), 0, 2000)  # noqa: B023

        rate = rates({"plain": lambda: drawn(False), "fast": lambda: drawn(True)}, 2000)
        print(f"| {kind} | {rate['plain']:,.0f} | {rate['fast']:,.0f} | {rate['fast'] / rate['plain']:.2f} |", flush=True)
    draw.taken = TAKEN


if __name__ == "__main__":
    main()
