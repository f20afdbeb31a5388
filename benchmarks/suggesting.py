"""Are the rows that `suggest` chooses worth more than random ones?

    OMP_NUM_THREADS=1 python benchmarks/suggesting.py KIT --out suggesting.jsonl [--sets clothing10 news20] [--shots 3] [--draws 20]

Every draw takes `shots` labelled examples of each class (at most 10 classes) as `benchmarks/heads.py` does. Of the other examples a random
half is the pool and the other half is asked. Two new labels a class are chosen from the pool: as `suggest` does, by the least margin
alone, the most typical ones (TypiClust), and at random (three times, averaged). Two learners are fitted on all labels and answer the
rest: `blend`, the usual one of `adapt` for photos, and `centroid`. One JSON line a draw; at the end, for each set, the accuracies and the
gains over random rows with their 95% intervals over draws (t).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from heads import drawn, given_by, opened, usable

from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.row_space import RowSpace
from fewtune.learning.method import Method
from fewtune.models.fitting import fit_head
from fewtune.models.suggest import uncertain_and_diverse
from fewtune.parts.heads import Blend, Centroid
from fewtune.statistics import t_interval

POOL, EACH, RANDOM = 60, 2, 3
NEIGHBOURS, ROUNDS = 20, 20
WAYS = ("before", "random", "margin", "suggest", "typical")
METHODS = {"blend": Method(learner=Blend()), "centroid": Method(learner=Centroid())}


def main() -> None:
    given = given_by(__doc__, shots=[3])
    with given.out.open("a") as out:
        for name in given.sets:
            examples, backbone = opened(given.kit, name)
            features = feature_table(backbone, RowSpace([examples]), folder=given.cache, quiet=True).features
            for shots in given.shots:
                classes = usable(examples, given.part, shots)
                for seed in range(given.draws):
                    draw = drawn(examples, classes, shots, seed, POOL)[1:]
                    for learner, method in METHODS.items():
                        line = measured(method, features, *draw, seed)
                        out.write(json.dumps({"set": name, "learner": learner, "shots": shots, "seed": seed, **line}) + "\n")
                    out.flush()
    print("\n".join(table([json.loads(line) for line in given.out.read_text().splitlines()])))


def measured(method: Method, features: torch.Tensor, rows: Any, labels: Any, others: Any, truth: Any, seed: int) -> dict[str, float]:
    """Accuracies of one draw."""
    ways, random = int(labels.max()) + 1, np.random.default_rng(seed)
    order = random.permutation(len(others))
    pool, asked = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    others = np.array(others)
    count = min(EACH * ways, len(pool))

    def with_labels(chosen: Any) -> float:
        more = pool[chosen]
        p = answered(method, features, np.concatenate([rows, others[more]]), np.concatenate([labels, truth[more]]), ways, others[asked])
        return float((p.argmax(1) == truth[asked]).mean())

    p = answered(method, features, rows, labels, ways, others[pool])
    top = np.sort(p, axis=1)
    return {
        "before": with_labels(np.zeros(0, dtype=np.int64)),
        "suggest": with_labels(uncertain_and_diverse(features[others[pool]].double().numpy(), p, count, seed=seed)),
        "typical": with_labels(typical(features[others[pool]].double().numpy(), features[rows].double().numpy(), count, seed)),
        "margin": with_labels(np.argsort(top[:, -1] - top[:, -2], kind="stable")[:count]),
        "random": float(np.mean([with_labels(random.permutation(len(pool))[:count]) for _ in range(RANDOM)])),
    }


def typical(pool: Any, known: Any, count: int, seed: int) -> Any:
    """TypiClust: as many groups as labels there will be, over pool and labelled rows; of each of the largest groups without a labelled row
    the row that is nearest to its 20 nearest neighbours in the group.

    Reference: Hacohen, Dekel, Weinshall, "Active learning on a budget", ICML 2022. Departs: groups of directions (features of length 1).
    """
    x = np.concatenate([pool, known])
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    random, groups = np.random.default_rng(seed), min(count + len(known), len(x))
    centres = x[random.choice(len(x), groups, replace=False)]
    for _ in range(ROUNDS):
        group = (x @ centres.T - (centres**2).sum(1) / 2).argmax(1)
        for k in np.unique(group):
            centres[k] = x[group == k].mean(0)
    taken: list[int] = []
    covered = np.isin(np.arange(groups), group[len(pool) :])
    sizes = np.bincount(group[: len(pool)], minlength=groups)
    for k in np.lexsort((-sizes, covered))[:count]:  # groups without a label first, the largest of them first
        mine = np.flatnonzero(group[: len(pool)] == k)
        if len(mine):
            gaps = np.sort(np.linalg.norm(x[mine][:, None] - x[mine][None], axis=2), axis=1)[:, 1 : NEIGHBOURS + 1]
            taken.append(int(mine[gaps.mean(1).argmin()] if len(mine) > 1 else mine[0]))
    rest = [row for row in random.permutation(len(pool)).tolist() if row not in set(taken)]
    return np.array((taken + rest)[:count])


def answered(method: Method, features: torch.Tensor, rows: Any, labels: Any, ways: int, asked: Any) -> Any:
    """Probabilities of a learner, fitted on some rows, for others."""
    state, parameters = fit_head(method, features.float(), rows, labels, ways, None)
    with torch.inference_mode():
        logits = method.head.score(state, features[asked].float()[None], parameters)[0]
    return torch.softmax(logits.double(), dim=1).numpy()


def table(lines: list[dict[str, Any]]) -> list[str]:
    """A row for each set and number of labels."""
    said = [f"{'set':15} {'learner':9} shots draws  before  random  margin suggest typical   - random: suggest, margin, typical"]
    for name, learner, shots in dict.fromkeys((line["set"], line["learner"], line["shots"]) for line in lines):
        mine = [line for line in lines if (line["set"], line["learner"], line["shots"]) == (name, learner, shots)]
        at = {way: np.array([line[way] for line in mine]) for way in WAYS}
        gains = [t_interval(at[way] - at["random"]) for way in ("suggest", "margin", "typical")]
        shown = "  ".join(f"{100 * g.mean:+5.2f} ({100 * g.low:+.2f} to {100 * g.high:+.2f})" for g in gains)
        means = " ".join(f"{100 * v.mean():7.2f}" for v in at.values())
        said.append(f"{name:15} {learner:9} {shots:5} {len(mine):5} {means}   {shown}")
    return said


if __name__ == "__main__":
    main()
