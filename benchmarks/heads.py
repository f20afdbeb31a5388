"""Episodes a second of every head on a feature table, one CPU thread, beside scikit-learn and a plain torch loop in the same run.

    OMP_NUM_THREADS=1 python benchmarks/heads.py [--repeats 7] [--heads Centroid Ridge] > heads.jsonl

20,000 x 384 float32 embeddings, 100 classes, 5-way, 15 queries a class. Timed is the whole path from integer episodes to accuracy:
gather, fit, score, argmax, compare; sampling is not. A JSON line a head and shots: `episodes_per_second` (median of the repeats, wall
clock), `best`, `per_cpu_second` (best, by the processor time of this thread, which leaves out the time that other work on the machine
takes), and how many times faster than the loops (by processor time, best against best).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.learning.on_features import correct_on_table
from fewtune.parts.heads import Centroid, Logistic, Matching, Ridge, Svm, Text, TextPrior
from fewtune.tasks.episodes import Episodes

ROWS, WIDTH, CLASSES, WAYS, QUERIES = 20_000, 384, 100, 5, 15
TARGETS = {("Centroid", 1): 20_000, ("Centroid", 5): 12_000, ("Ridge", 1): 9_000, ("Logistic", 1): 6_000}
HEADS = {
    "Centroid": Centroid(),
    "Matching": Matching(),
    "Ridge": Ridge(),
    "Ridge, leave one out": Ridge(penalty="loo"),
    "Logistic": Logistic(),
    "Svm": Svm(),
    "Svm, one against the rest": Svm(form="one_vs_rest"),
    "Text": Text(),
    "TextPrior": TextPrior(),
}


def table() -> tuple[Tensor, Tensor, Tensor]:
    """(features, labels, class vectors): classes that overlap as embeddings of unseen classes do."""
    g = torch.Generator().manual_seed(0)
    label = torch.arange(ROWS) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=g)
    return 0.35 * centres[label] + torch.randn(ROWS, WIDTH, generator=g), label, centres


def drawn(count: int, shots: int, label: Tensor) -> Episodes:
    """Random episodes, made beforehand."""
    rng = np.random.default_rng(shots)
    members = [np.flatnonzero(label.numpy() == c) for c in range(CLASSES)]
    classes = np.stack([rng.permutation(CLASSES)[:WAYS] for _ in range(count)])
    rows = np.stack([[rng.choice(members[c], shots + QUERIES, replace=False) for c in chosen] for chosen in classes])
    ways = torch.arange(WAYS)
    return Episodes(
        torch.from_numpy(rows[:, :, :shots].reshape(count, -1).copy()),
        ways.repeat_interleave(shots).expand(count, -1).contiguous(),
        torch.from_numpy(rows[:, :, shots:].reshape(count, -1).copy()),
        ways.repeat_interleave(QUERIES).expand(count, -1).contiguous(),
        torch.from_numpy(classes),
        torch.zeros(count, dtype=torch.long),
    )


def measured(run: Callable[[], object], count: int, repeats: int) -> dict[str, float]:
    """Episodes a second: median and best by the wall clock, best by processor time."""
    run()
    wall, processor = [], []
    for _ in range(repeats):
        started, worked = time.perf_counter(), time.thread_time()
        run()
        wall.append(time.perf_counter() - started)
        processor.append(time.thread_time() - worked)
    rates = {"episodes_per_second": statistics.median(wall), "best": min(wall), "per_cpu_second": min(processor)}
    return {key: round(count / seconds, 1) for key, seconds in rates.items()}


def sklearn_twin(name: str) -> Callable[[], Any] | None:
    """What a person would take from scikit-learn for this head, on unit features."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
    from sklearn.svm import LinearSVC

    return {
        "Centroid": NearestCentroid,
        "Matching": lambda: KNeighborsClassifier(1, metric="cosine"),
        "Ridge": lambda: RidgeClassifier(fit_intercept=False),
        "Ridge, leave one out": lambda: RidgeClassifierCV(alphas=[10 ** (k / 2) for k in range(-8, 9)], fit_intercept=False),
        "Logistic": lambda: LogisticRegression(C=3.0, max_iter=1000),
        "Svm": lambda: LinearSVC(C=0.1, loss="hinge", multi_class="crammer_singer", fit_intercept=False, max_iter=10_000),
        "Svm, one against the rest": lambda: LinearSVC(C=0.1, loss="hinge", fit_intercept=False, max_iter=10_000),
    }.get(name)


def sklearn_loop(twin: Callable[[], Any], features: Tensor, episodes: Episodes) -> float:
    """Accuracy, one episode at a time."""
    x = torch.nn.functional.normalize(features, dim=-1).numpy()
    parts = (episodes.support, episodes.support_label, episodes.query, episodes.query_label)
    correct = [(twin().fit(x[s], y).predict(x[q]) == t).mean() for s, y, q, t in zip(*(part.numpy() for part in parts), strict=True)]
    return float(np.mean(correct))


def torch_logits(name: str, support: Tensor, label: Tensor, query: Tensor) -> Tensor | None:
    """One episode as few-shot code commonly has it."""
    support, query = torch.nn.functional.normalize(support, dim=-1), torch.nn.functional.normalize(query, dim=-1)
    target = torch.nn.functional.one_hot(label, WAYS).float()
    if name == "Centroid":
        centres = torch.stack([support[label == k].mean(0) for k in range(WAYS)])
        return 10 * query @ torch.nn.functional.normalize(centres, dim=-1).T
    if name == "Matching":
        return ((10 * query @ support.T).softmax(-1) @ target).log()
    if name == "Ridge":
        weight = support.T @ torch.linalg.solve(support @ support.T + torch.eye(len(support)), target)
        return query @ weight
    if name == "Logistic":
        layer = torch.nn.Linear(WIDTH, WAYS)
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = 3.0 * torch.nn.functional.cross_entropy(layer(support), label, reduction="sum") + 0.5 * layer.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
        return layer(query).detach()
    return None


def torch_loop(name: str, features: Tensor, episodes: Episodes) -> float:
    """Accuracy, one episode at a time."""
    correct = []
    for i in range(len(episodes)):
        logits = torch_logits(name, features[episodes.support[i]], episodes.support_label[i], features[episodes.query[i]])
        assert logits is not None
        correct.append((logits.argmax(-1) == episodes.query_label[i]).float().mean().item())
    return float(np.mean(correct))


def line(name: str, shots: int, count: int, repeats: int) -> dict[str, Any]:
    """Everything about one head at one number of shots."""
    features, label, vectors = table()
    episodes = drawn(count, shots, label)
    few = episodes[: 300 if name != "Logistic" else 60]
    head = HEADS[name]
    result: dict[str, Any] = {"benchmark": "heads", "head": name, "spec": repr(head), "shots": shots, "ways": WAYS, "queries": QUERIES}
    result |= {"episodes": count, "threads": torch.get_num_threads(), "torch": torch.__version__}
    result |= measured(lambda: correct_on_table(head, features, episodes, vectors), count, repeats)
    if (name, shots) in TARGETS:
        result["target"] = TARGETS[name, shots]
    result["accuracy"] = round(float(correct_on_table(head, features, few, vectors).float().mean()), 4)
    if (twin := sklearn_twin(name)) is not None:
        loop = measured(lambda: sklearn_loop(twin, features, few), len(few), 3)
        result |= {"sklearn_loop": loop["best"], "times_sklearn": round(result["per_cpu_second"] / loop["per_cpu_second"], 1)}
        result["sklearn_accuracy"] = round(sklearn_loop(twin, features, few), 4)
    if name in ("Centroid", "Matching", "Ridge", "Logistic"):
        loop = measured(lambda: torch_loop(name, features, few), len(few), 3)
        result |= {"torch_loop": loop["best"], "times_torch": round(result["per_cpu_second"] / loop["per_cpu_second"], 1)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--episodes", type=int, default=4096)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.heads:
        for shots in options.shots:
            slow = 8 if name.startswith("Svm") else 1
            print(json.dumps(line(name, shots, max(64, options.episodes // slow), options.repeats)), flush=True)


if __name__ == "__main__":
    main()
