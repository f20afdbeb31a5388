"""What is transferred from ImageNet: MobileNetV2 finetuned from its pretrained weights and from random ones, on one small set.

    OMP_NUM_THREADS=1 python benchmarks/transfer.py KIT [--set clothing10] [--steps 40] [--rows 20] [--seeds 0 1] --out transfer.json

Written down before it was run, but for the rate: at .01, the first choice, both pretrained runs fell to chance within 20 steps. 96 px, 20
rows of each class to train on, 200 other rows to judge by. 40 steps of 16 rows, SGD with momentum .9 at .001 (random: .003) for all weights
and a linear head that begins at zero; a run differs from another of its start by the order of rows alone. The random start has the
BatchNorm statistics of 128 training rows (pretrained ones keep their own), and they stay frozen, so that random runs train at all. Judged:
accuracy every 20 steps; the barrier (accuracy, loss) between the two runs of each start and between one run of each (11 points, BatchNorm
as it is, and where starts differ re-estimated); errors in common; the fall of accuracy when one group is rewound, for the first run of each
start; a head on every group, at the start and the end. Claims of Neyshabur et al. 2020: runs of the pretrained start have no barrier, runs
of a random start do, although they begin alike; higher groups are more critical. Intervals are over the 200 rows, not over starts: one data
set, one random start.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads.linear import Linear
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import everything
from fewtune.statistics.paired import paired_interval
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.task import class_rows
from fewtune.transfer import barrier, depth_probe, error_agreement, interpolation, layer_features, reestimated, rewind

POINTS = tuple(i / 10 for i in range(11))
JUDGED = 200


def some_rows(labels: np.ndarray, count: int, place: str) -> np.ndarray:
    """`count` rows of each class, drawn by key."""
    order = np.argsort(key(0, "benchmark", place).uniform(np.arange(len(labels), dtype=np.uint64)), kind="stable")
    return np.sort(np.concatenate([order[labels[order] == c][:count] for c in range(labels.max() + 1)]))


class Study:
    """One data set: its training rows as a ground, and the rows that judge."""

    def __init__(self, kit: Path, name: str, rows: int) -> None:
        whole = read_examples(kit / "images" / f"{name}.npz")
        train_rows = some_rows(whole.labels, rows, "train")
        rest = np.setdiff1d(np.arange(len(whole)), train_rows)
        self.train = whole.take(train_rows)
        self.test = whole.take(rest[some_rows(whole.labels[rest], JUDGED // len(whole.class_names), "test")])
        self.space = RowSpace([self.train], remember=1 << 30)
        self.asked = RowSpace([self.test], remember=1 << 30)
        self.kit = kit

    def start(self, pretrained: bool) -> Backbone:
        name, machine = "timm:mobilenetv2_100,size=96", Machine(device="cpu")
        if pretrained:
            return load_backbone(name, weights=self.kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors", machine=machine)
        backbone = load_backbone(f"{name},pretrained=false", machine=machine)
        return backbone.with_weights({n: t for n, t in self.settled(backbone, backbone.start()).items() if "running" in n})

    def settled(self, backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = some_rows(self.train.labels, 13, "statistics")[:128]
        return reestimated(backbone, weights, [self.space.gather(rows[i : i + 32].tolist(), backbone.preparation) for i in (0, 32, 64, 96)])

    def logits(self, backbone: Backbone, weights: Mapping[str, Tensor]) -> Tensor:
        own = {n: t for n, t in weights.items() if not n.startswith("source.")}
        with torch.no_grad():
            features = backbone.embed(own, self.asked, np.arange(len(self.test)))
        return features @ weights["source.weight"].T + weights["source.bias"]

    def right(self, backbone: Backbone, weights: Mapping[str, Tensor]) -> np.ndarray:
        return self.logits(backbone, weights).argmax(1).numpy() == self.test.labels


def finetuned(study: Study, backbone: Backbone, steps: int, seed: int, rate: float) -> tuple[dict[str, Tensor], list[Any]]:
    """The weights at the end, and (step, accuracy) on the way."""
    phase = Phase(
        sampler=Pooled(batch=16),
        learner=Linear(rows="class", name="source"),
        plan=everything(rate),
        steps=steps,
        optimizer=SGD(momentum=0.9),
    )
    ground = Ground(backbone, study.space)
    judge = lambda weights: float(study.right(backbone, weights).mean())  # noqa: E731
    found = train(ground, (phase,), class_rows(study.space), key(seed), validate=judge, watch=20)
    return found.weights, [(row["step"] + 1, row["validation"]) for row in found.curve if "validation" in row]


def between(study: Study, backbone: Backbone, one: Mapping[str, Tensor], two: Mapping[str, Tensor], settle: bool) -> dict[str, Any]:
    """The barrier between two runs and the agreement of their errors."""
    again = (lambda weights: study.settled(backbone, weights)) if settle else None
    logits = interpolation(one, two, lambda weights: study.logits(backbone, weights).numpy(), POINTS, again)
    truth = torch.from_numpy(study.test.labels)
    losses = np.stack([torch.nn.functional.cross_entropy(torch.from_numpy(p), truth, reduction="none").numpy() for p in logits])
    right = logits.argmax(-1) == study.test.labels
    made = {"accuracy": barrier(POINTS, right), "loss": barrier(POINTS, losses, "loss")}
    same = error_agreement(right[0], right[-1])
    spread = {n: [b.value.mean, b.value.low, b.value.high] for n, b in made.items()}
    return {**spread, "curve": right.mean(1).tolist(), "kappa": same.kappa, "common": same.common, "independent": same.independent}


def depth(study: Study, backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Accuracy of a new head on every group, fitted to the training rows."""
    own = {n: t for n, t in weights.items() if not n.startswith("source.")}
    both = []
    for space, count in ((study.space, len(study.train)), (study.asked, len(study.test))):
        batches = [space.gather(list(range(i, min(i + 32, count))), backbone.preparation) for i in range(0, count, 32)]
        both.append(layer_features(backbone, own, batches))
    layers = {title: (both[0][title], both[1][title]) for title in both[0]}
    return {t: p.accuracy.mean for t, p in depth_probe(layers, study.train.labels, study.test.labels).items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kit", type=Path)
    parser.add_argument("--set", default="clothing10")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    study, said, runs = Study(asked.kit, asked.set, asked.rows), {}, {}
    for name, pretrained, rate in (("pretrained", True, 1e-3), ("random", False, 3e-3)):
        backbone = study.start(pretrained)
        runs[name] = (backbone, [finetuned(study, backbone, asked.steps, seed, rate) for seed in asked.seeds])
        ends = [weights for weights, _ in runs[name][1]]
        said[name] = {"curves": [curve for _, curve in runs[name][1]], "pair": between(study, backbone, ends[0], ends[1], settle=False)}
        whole = study.right(backbone, ends[0])
        start = {**ends[0], **backbone.start()}
        falls = rewind(start, ends[0], backbone.groups, lambda weights: study.right(backbone, weights))  # noqa: B023
        drops = {t: paired_interval(whole.astype(float) - now) for t, now in falls.items()}
        said[name]["rewound"] = {t: [d.mean, d.low, d.high] for t, d in drops.items()}
        said[name]["depth"] = {"start": depth(study, backbone, start), "end": depth(study, backbone, ends[0])}
        asked.out.write_text(json.dumps({**said, "cpu_seconds": time.process_time()}, indent=1))
        print(name, json.dumps(said[name]["pair"]), said[name]["curves"], f"{time.process_time():.0f} s", flush=True)
    backbone = runs["pretrained"][0]
    said["across"] = between(study, backbone, runs["pretrained"][1][0][0], runs["random"][1][0][0], settle=True)
    asked.out.write_text(json.dumps({**said, "cpu_seconds": time.process_time()}, indent=1))
    print("across", json.dumps(said["across"]), f"{time.process_time():.0f} s", flush=True)


if __name__ == "__main__":
    main()
