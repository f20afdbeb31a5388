"""The quantities of the theory of multitask finetuning on real texts, before and after it, and finetuning under a constraint.

    OMP_NUM_THREADS=1 python benchmarks/theory.py KIT OUT.jsonl [--seeds 0 1 2]   # a JSON line a seed
    OMP_NUM_THREADS=1 python benchmarks/theory.py KIT OUT.jsonl --table           # the tables of the lines that are there

Written down before it was run. MiniLM, CLINC150: 20 rows of each of 75 train intents to learn from, 20 of each of 45 test intents to be
judged by; the seed draws rows and tasks. Its last layer moves in 30 multitask updates (15 ways, 1 + 9 rows, Adam, .0001): without a
constraint, and with the contrast of the query rows by class (`SupervisedContrast`) held at 70% and at 40% of what it is before finetuning,
counted from log 8, the least that it can be with 8 other rows of a class.

Features are unit vectors times the root of 10. Measured before and after, by 100 random two-class tasks of train intents and 100 of test
intents: L_sup, the mean loss of the best linear classifier (C = 1), its mean and its worst over the test tasks; L_con, the contrastive loss
with one negative over all triples of learned rows, tau = 1 / number of classes; the bound of theorem 1, (2 L_con - tau) / (1 - tau), which
L_sup of the train tasks must not exceed; nu at epsilon = 0 of the pair (before, after); alpha, three times L_sup of the train tasks after
finetuning over the bound, and the bound of theorem 2 for the test tasks. The accuracy and the contrast are of 200 episodes of test
intents (15 ways, 1 + 9 rows), the same for all. Intervals are Student's t over seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_seed import lines_of, parser_of, shown
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid
from fewtune.parts.losses import SupervisedContrast
from fewtune.parts.optimizers import Adam
from fewtune.recipes import multitask
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from fewtune.transfer import (
    average_difference,
    collision_probability,
    diversity,
    finetuning_bound,
    pair_losses,
    pretraining_bound,
    worst_difference,
)

ROWS, PAIRS, EPISODES, STEPS, SCALE = 20, 100, 200, 30, 10.0
DRAW = Sampled(ways=15, shots=1, queries=9)
LEAST = math.log(DRAW.queries - 1)
SHARES = {"multitask": math.inf, "held at 70%": 0.7, "held at 40%": 0.4}
CONTRAST = SupervisedContrast()


def some(examples: Examples, seed: int) -> Examples:
    """A few rows of each class, drawn by the seed."""
    order = np.argsort(key(seed, "theory").uniform(np.arange(len(examples), dtype=np.uint64)), kind="stable")
    return examples.take(np.sort(np.concatenate([order[examples.labels[order] == c][:ROWS] for c in range(len(examples.class_names))])))


def contrastive_loss(features: np.ndarray, labels: np.ndarray) -> float:
    """The mean of log(1 + e^-v), v = f(x) (f(x+) - f(x-)), over all rows x, all others x+ of its class and all other rows x-."""
    alike, costs = features @ features.T, []
    for i in range(len(labels)):
        others = np.arange(len(labels)) != i
        near, far = alike[i][others & (labels == labels[i])], alike[i][others]
        costs.append(np.logaddexp(0, far[None, :] - near[:, None]).mean())
    return float(np.mean(costs))


class Bench:
    """The rows of one seed, and what is asked of weights."""

    def __init__(self, kit: Path, seed: int) -> None:
        examples = some(read_examples(kit / "text" / "clinc150.jsonl"), seed)
        self.space, self.seed = RowSpace([examples], remember=1 << 29), seed
        backbone = load_backbone(f"hf:{kit / 'weights' / 'all-minilm-l6-v2'}", machine=Machine(device="cpu"))
        ground = Ground(backbone, self.space)
        self.start = ground.start()
        self.ground = ground.holding(self.start, set(backbone.groups[-1][1]))
        self.tasks = {part: class_rows(self.space, part) for part in ("train", "test")}
        self.rows = {part: np.flatnonzero(np.isin(examples.labels, tasks.slot_class)) for part, tasks in self.tasks.items()}
        self.labels = {part: examples.labels[rows] for part, rows in self.rows.items()}
        self.pairs = {part: self._pairs(np.unique(labels)) for part, labels in self.labels.items()}
        self.asked = DRAW.draw(self.tasks["test"], key(seed, "asked"), 0, EPISODES)
        self.before = DRAW.draw(self.tasks["train"], key(seed, "before"), 0, 50)

    def _pairs(self, classes: np.ndarray) -> list[tuple[int, int]]:
        generator = np.random.default_rng(self.seed)
        return [tuple(map(int, generator.choice(classes, 2, replace=False))) for _ in range(PAIRS)]  # type: ignore[misc]

    def contrast(self, weights: Mapping[str, Tensor], episodes: Any) -> float:
        with torch.no_grad():
            return float(CONTRAST(respond(self.ground, Centroid(), weights, episodes, key(0))).mean())

    def trained(self, share: float) -> dict[str, Tensor]:
        bound = math.inf if math.isinf(share) else LEAST + share * (self.contrast(self.start, self.before) - LEAST)
        settings: dict[str, Any] = {"ways": 15, "shots": 1, "queries": 9, "steps": STEPS, "lr": 1e-4, "optimizer": Adam(), "last": 1}
        more = {} if math.isinf(share) else {"constraint": CONTRAST, "most": bound}
        run = train(self.ground, multitask(**settings, **more).phases, self.tasks["train"], key(self.seed, "theory"))
        return {**self.start, **{n: t for n, t in run.weights.items() if n in self.start and n in run.moved}}

    def measured(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Losses of tasks and triples, contrast and accuracy by these weights."""
        made: dict[str, Any] = {}
        with torch.no_grad():
            outcome = respond(self.ground, Centroid(), weights, self.asked, key(0))
            made["accuracy"] = float((outcome.logits.argmax(-1) == self.asked.query_label).double().mean())
            made["contrast"] = float(CONTRAST(outcome).mean())
            made["contrast, train"] = self.contrast(weights, self.before)
            features = {part: self.ground.embed(weights, torch.from_numpy(rows)[None])[0].double() for part, rows in self.rows.items()}
        scaled = {part: (math.sqrt(SCALE) * f / f.norm(dim=1, keepdim=True)).numpy() for part, f in features.items()}
        made["con"] = contrastive_loss(scaled["train"], self.labels["train"])
        return made | {part: pair_losses(scaled[part], self.labels[part], pairs=self.pairs[part]).tolist() for part in scaled}


def line_of(kit: Path, seed: int) -> dict[str, Any]:
    """One seed: what is measured before finetuning and after each kind of it."""
    bench = Bench(kit, seed)
    found = {"before": bench.measured(bench.start)}
    for name, share in SHARES.items():
        found[name] = bench.measured(bench.trained(share))
        print(f"seed {seed} {name}: {time.process_time():.0f} s", flush=True)
    counts = np.bincount(bench.labels["train"])
    bound = LEAST + np.array([0.7, 0.4]) * (found["before"]["contrast, train"] - LEAST)
    return {"seed": seed, "tau": collision_probability(counts), "bounds": bound.tolist(), **found, "seconds": time.process_time()}


def theorems(line: Mapping[str, Any]) -> dict[str, float]:
    """The bounds of one seed beside what was measured."""
    one, two, tau = line["before"], line["multitask"], line["tau"]
    bound = pretraining_bound(one["con"], tau)
    gap, worst = average_difference(one["train"], two["train"]), worst_difference(one["test"], two["test"])
    alpha = min(1.0, 3 * float(np.mean(two["train"])) / bound)
    return {
        "tau": tau,
        "L_con before": one["con"],
        "L_con after": two["con"],
        "bound of theorem 1 before": bound,
        "bound of theorem 1 after": pretraining_bound(two["con"], tau),
        "L_sup of train tasks before": float(np.mean(one["train"])),
        "L_sup of train tasks after": float(np.mean(two["train"])),
        "L_sup of test tasks before": float(np.mean(one["test"])),
        "L_sup of test tasks after": float(np.mean(two["test"])),
        "worst L_sup of test tasks before": max(one["test"]),
        "worst L_sup of test tasks after": max(two["test"]),
        "d_zeta(before, after)": gap,
        "d_C0(before, after)": worst,
        "d_C0(after, before)": worst_difference(two["test"], one["test"]),
        "nu at epsilon 0": diversity([gap], [worst]).nu,
        "alpha": alpha,
        "bound of theorem 2, nu = 1": finetuning_bound(alpha, one["con"], tau),
    }


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    print(f"{len(lines)} seeds\n\n| quantity | mean and 95% over seeds |\n|---|--:|")
    each = [theorems(line) for line in lines]
    for name in each[0]:
        print(f"| {name} | {shown(np.array([one[name] for one in each]), 4)} |")
    print("\n| | contrast, train episodes | bound | contrast, test episodes | accuracy, test episodes | gain |\n|---|" + "--:|" * 5)
    of = lambda name, what: np.array([line[name][what] for line in lines])  # noqa: E731
    for place, name in enumerate(("before", *SHARES)):
        bound = shown(np.array([line["bounds"][place - 2] for line in lines]), 3) if place > 1 else ""
        accuracy, gain = 100 * of(name, "accuracy"), 100 * (of(name, "accuracy") - of("before", "accuracy"))
        row = [shown(of(name, "contrast, train"), 3), bound, shown(of(name, "contrast"), 3), shown(accuracy, 1), shown(gain, 1)]
        print(f"| {name} | {' | '.join(row)} |")


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2))
    asked = parser.parse_args()
    tables(lines_of(asked, lambda seed: line_of(asked.kit, seed)))


if __name__ == "__main__":
    main()
