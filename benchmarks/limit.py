"""Episodes a CPU second of frozen evaluation, as `compare` does it: drawing, answering and judging. One CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/limit.py

20,000 x 384 random unit features of 100 classes, 5-way, 15 queries a class; the median of REPEATS runs of process time. Judging is
measured in the same run in two ways: one pass over the logits for answer and loss, and five (argmax, comparison, cross-entropy by
log-softmax, two masks) as it was before; and drawing alone. Ratios are those to compare between machines.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from fewtune.evaluation import answers
from fewtune.evaluation.answers import score_table
from fewtune.keys import key
from fewtune.parts.heads import Centroid, Logistic, Ridge
from fewtune.parts.heads.head import Head
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Sampled, Varied
from fewtune.tasks.task import Tasks

CLASSES, ROWS, WIDTH, REPEATS = 100, 200, 384, 5


def five_passes(logits: Tensor, episodes: Episodes, metric: object) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ARG001
    """Judging as it was."""
    label = episodes.query_label
    inside = label >= 0
    count = inside.sum(1).clamp_min(1)
    correct = (logits.argmax(-1) == label) & inside
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), label.flatten(), ignore_index=-1, reduction="none")
    return correct.sum(1).double() / count, nats.view(label.shape).double().sum(1) / count, correct, None


def rate(work: Callable[[], object], episodes: int) -> float:
    """Episodes a CPU second, the median."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        found.append(episodes / (time.process_time() - began))
    return statistics.median(found)


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    middle = random.normal(size=(CLASSES, 1, WIDTH))
    features = torch.from_numpy((middle + 2 * random.normal(size=(CLASSES, ROWS, WIDTH))).reshape(-1, WIDTH).astype(np.float32))
    features = torch.nn.functional.normalize(features, dim=1)
    one = np.arange(CLASSES)
    tasks = Tasks(np.arange(CLASSES * ROWS), one * ROWS, np.full(CLASSES, ROWS), one, one, np.array([0, CLASSES]), ("all",))
    heads: list[tuple[str, Head, int]] = [
        ("centroid", Centroid(), 4000),
        ("ridge", Ridge(penalty=1.0), 2000),
        ("logistic", Logistic(), 1000),
    ]
    print("| head | shots | draw + answer + judge | judged in five passes | ratio | answer + judge | drawing alone |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, head, count in heads:
        for shots in (1, 5):
            sampler = Sampled(ways=5, shots=shots, queries=15)
            episodes = sampler.draw(tasks, key(0), 0, count)
            drawing = rate(lambda: sampler.draw(tasks, key(0), 0, count), count)  # noqa: B023
            whole = rate(lambda: score_table(head, features, sampler.draw(tasks, key(0), 0, count), None), count)  # noqa: B023
            alone = rate(lambda: score_table(head, features, episodes, None), count)  # noqa: B023
            with patch.object(answers, "_judged", five_passes):
                before = rate(lambda: score_table(head, features, sampler.draw(tasks, key(0), 0, count), None), count)  # noqa: B023
            print(f"| {name} | {shots} | {whole:,.0f} | {before:,.0f} | {whole / before:.2f} | {alone:,.0f} | {drawing:,.0f} |", flush=True)
    varied = Varied()
    made = rate(lambda: varied.draw(tasks, key(0), 0, 2000), 2000)
    print(f"\nVaried episodes drawn: {made:,.0f} a CPU second.")


if __name__ == "__main__":
    main()
