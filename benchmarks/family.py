"""A family of small networks for the law of the downstream error: pretrained on 20 classes of Tiny ImageNet, asked on five sets.

    python benchmarks/family.py KIT OUT.jsonl [--widths 8 16 32 64] [--rows 20 60 200] [--steps 60 150 400 1000] [--decays 0 0.03]

Every network is a conv4 at 24 pixels of its own width, number of rows a class, number of updates (batches of 64, AdamW, a rate that falls
along a cosine) and penalty on its head. Its upstream error is that of its own 20-way head on 100 held-out rows of each of the same classes.
Downstream, features stay frozen: 5-way episodes of new classes or sets with 1, 5 and 20 labels a class, 15 queries, answered by ridge
regression and by nearest centroid, the same episodes for every network. One JSON line a network, in an order drawn by key, so that a part
of the family is spread over all settings; lines that OUT has already are not made again.
`benchmarks/family_law.py` reads them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.protocol import Protocol
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.on_features import correct_on_table
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid, Linear, Ridge
from fewtune.parts.losses import CrossEntropy
from fewtune.parts.losses.loss import Outcome
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import everything
from fewtune.parts.rates import Cosine
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

SIZE, BATCH, RATE = 24, 64, 3e-3
CLASSES, JUDGED = 20, 100  # upstream classes, and held-out rows of each
SHOTS = (1, 5, 20)
EPISODES = 200
TARGETS = {"tiny_imagenet": 50, "cifar10": 100, "caltech101": 60, "clothing10": 100, "dtd10": 100}  # rows of a class at most
HEADS = {"ridge": Ridge(), "centroid": Centroid()}
REMEMBERED = 1 << 30  # bytes of prepared photos


@dataclass(frozen=True)
class HeadDecay:
    """strength / 2 x the squared weights of the source head."""

    strength: float

    def __call__(self, outcome: Outcome) -> Tensor:
        return self.strength / 2 * outcome.own["source.weight"].flatten(1).square().sum(1)  # the one that moves


def few(labels: np.ndarray, allowed: np.ndarray, count: int, place: str) -> np.ndarray:
    """At most `count` of the allowed rows of each class, drawn by key: fewer rows are among more."""
    order = np.argsort(key(0, "family", place).uniform(np.arange(len(labels), dtype=np.uint64)), kind="stable")
    order = order[allowed[order]]
    return np.sort(np.concatenate([order[labels[order] == c][:count] for c in np.unique(labels[allowed])]))


class Upstream:
    """Some train classes of Tiny ImageNet: rows to learn from, and others to be judged by."""

    def __init__(self, kit: Path, most: int) -> None:
        whole = read_examples(kit / "images" / "tiny_imagenet.npz")
        possible = np.flatnonzero(whole.class_split == 0)
        drawn = np.argsort(key(0, "family", "classes").uniform(possible.astype(np.uint64)), kind="stable")[:CLASSES]
        self.classes = np.sort(possible[drawn])
        mine = np.isin(whole.labels, self.classes)
        judged = few(whole.labels, mine, JUDGED, "judged")
        mine[judged] = False
        self.learned, self.judged = whole.take(few(whole.labels, mine, most, "rows")), whole.take(judged)
        self.space, self.asked = RowSpace([self.learned], remember=REMEMBERED), RowSpace([self.judged], remember=REMEMBERED)

    def trained(self, backbone: Backbone, rows: int, steps: int, decay: float, seed: int) -> dict[str, Tensor]:
        phase = Phase(
            sampler=Pooled(batch=BATCH),
            learner=Linear(rows="class", start="random", name="source"),
            plan=everything(Cosine(lr=RATE, warmup=steps // 20)),
            steps=steps,
            losses=(CrossEntropy(), HeadDecay(decay)),
            optimizer=AdamW(weight_decay=1e-4),
            clip=1.0,
        )
        some = few(self.learned.labels, np.ones(len(self.learned), dtype=bool), rows, "rows")
        return train(Ground(backbone, self.space), (phase,), class_rows(self.space, rows=some), key(seed, "family")).weights

    def errors(self, backbone: Backbone, weights: dict[str, Tensor]) -> tuple[float, float]:
        """(top-1, top-5) of the network's own head on the rows that judge."""
        features = embedded(backbone, weights, self.asked)
        logits = features @ weights["source.weight"].T + weights["source.bias"]
        best = (
            logits[:, self.classes].topk(5, dim=1).indices == torch.from_numpy(np.searchsorted(self.classes, self.judged.labels))[:, None]
        )
        return 1 - float(best[:, 0].double().mean()), 1 - float(best.any(1).double().mean())


def embedded(backbone: Backbone, weights: dict[str, Tensor], space: RowSpace) -> Tensor:
    own = {n: t for n, t in weights.items() if not n.startswith("source.")}
    with torch.no_grad():
        return backbone.embed(own, space, np.arange(len(space)))


class Target:
    """A set downstream: its rows, and the episodes that every network answers."""

    def __init__(self, kit: Path, name: str, most: int) -> None:
        whole = read_examples(kit / "images" / f"{name}.npz")
        classes = "test" if name in ("tiny_imagenet", "caltech101") else "all"
        allowed = (whole.class_split[whole.labels] == 2) if classes == "test" else np.ones(len(whole), dtype=bool)
        self.space = RowSpace([whole.take(few(whole.labels, allowed, most, name))], remember=REMEMBERED)
        self.episodes = {}
        for shots in SHOTS:
            protocol = Protocol(sampler=Sampled(ways=5, shots=shots, queries=15), classes=classes, least_rows=max(SHOTS) + 15)
            tasks = protocol.tasks(self.space).keep(*protocol.needs)
            self.episodes[shots] = protocol.sampler.draw(tasks, key(0, "family", name, shots), 0, EPISODES)

    def errors(self, backbone: Backbone, weights: dict[str, Tensor]) -> dict[str, list[float]]:
        """The mean error of each head, one for each number of shots."""
        table = embedded(backbone, weights, self.space)
        right = lambda head, shots: float(correct_on_table(head, table, self.episodes[shots]).double().mean())  # noqa: E731
        return {name: [1 - right(head, shots) for shots in SHOTS] for name, head in HEADS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 60, 200])
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 150, 400, 1000])
    parser.add_argument("--decays", type=float, nargs="+", default=[0.0, 0.03])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="stop after so many new networks")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    made = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    known = {asking(line) for line in made}
    grid = list(itertools.product(asked.widths, asked.rows, asked.steps, asked.decays))
    order = np.argsort(key(0, "family", "order").uniform(np.arange(len(grid), dtype=np.uint64)), kind="stable")
    settings = [dict(zip(("width", "rows", "steps", "decay"), grid[i], strict=True), seed=asked.seed) for i in order]
    coming = [one for one in settings if asking(one) not in known]
    upstream = Upstream(asked.kit, max(asked.rows))
    targets = {name: Target(asked.kit, name, most) for name, most in TARGETS.items()}
    for one in coming[: asked.limit]:
        began = time.process_time()
        backbone = load_backbone(f"conv4,size={SIZE},width={one['width']},seed={one['seed']}", machine=Machine(device="cpu"))
        weights = upstream.trained(backbone, one["rows"], one["steps"], one["decay"], one["seed"])
        learned = time.process_time() - began
        first, fifth = upstream.errors(backbone, weights)
        ds = {name: target.errors(backbone, weights) for name, target in targets.items()}
        norm = float(weights["source.weight"].norm())
        line = {**one, "us": first, "us5": fifth, "ds": ds, "norm": norm, "training": learned, "seconds": time.process_time() - began}
        with asked.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(
            one, f"us {first:.3f} {fifth:.3f}", {n: f"{e['ridge'][1]:.3f}" for n, e in ds.items()}, f"{line['seconds']:.0f} s", flush=True
        )


def asking(line: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two lines the same network."""
    return tuple(line[name] for name in ("width", "rows", "steps", "decay", "seed"))


if __name__ == "__main__":
    main()
