"""What a pretrained start is worth: MobileNetV2 finetuned from its ImageNet weights and from random ones, on small sets.

    OMP_NUM_THREADS=1 python benchmarks/starts.py KIT OUT --set clothing10 [--blocks 1 8 32] [--valley]
    python benchmarks/starts.py KIT OUT --summary

Written down before it was run. 64 px; 40 rows of each class to learn from (Omniglot: 20 characters, 12 rows each), about 200 other rows to
judge by. 240 steps of 16 rows, SGD with momentum .9, all weights and a linear head that begins at zero, a fixed rate. Starts: `pretrained`
with its BatchNorm statistics kept, as one finetunes on few rows; `random` with BatchNorm by the batch, without which it does not learn;
`pretrained, batch` as a control that is treated like `random`. Rates are chosen by 120 steps on a fifth of the training rows: of .0003
and .001, .01 and .03, .003 and .01. Seen before: on other rows of Clothing, 100 to 150 steps at single rates, from
which the three ways come; and one run of `pretrained` at .003 on Clothing, the first plan, which fell to chance.

1. Curves (items 128-132): accuracy every 20 steps; final accuracy and steps to 90% of its way from chance; two seeds (orders of rows).
   Claim: pretrained is higher and faster.
2. Block shuffle, one order for all photos: what pretrained gains at the end and in speed, by the size of blocks. Claim: the gain in
   accuracy falls with smaller blocks (features), a gain in speed stays (statistics of pixels).
3. Barriers between two seeds of one start and between starts (11 points; BatchNorm estimated again at each point where it differs), of
   accuracy, loss and AUC. Claim: none between pretrained runs, large ones else.
4. Criticality with noise, by stage, of the first seed (error on 64 training rows; alpha 0, .25, .5, .75, 1; sigma 4 to .25 in halves, two
   draws), and the fall of test accuracy when a stage is rewound. Claim: it grows towards the output.

Intervals are over test rows, for one random start: what another start would give is not in them. Rows that pilots looked at are not judged.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from transfer import some_rows

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, of_classes
from fewtune.data.reading.read import read_examples
from fewtune.machine import Machine
from fewtune.statistics.paired import paired_interval
from fewtune.studies.starts import WHOLE, Curve, Finetuned, Finetuning, Seen, begun, best_rate, start_curves
from fewtune.transfer import barrier, criticality, grows_with_depth, interpolation, reestimated, rewind, valley, with_buffers

POINTS = tuple(i / 10 for i in range(11))
NAME = "timm:mobilenetv2_100,pad_type=same,size=64"
USUAL = Finetuning(steps=240, batch=16, rate=0.003, watch=20)
RATES = {"pretrained": (0.0003, 0.001), "random": (0.01, 0.03), "pretrained, batch": (0.003, 0.01)}


def rows_of(kit: Path, name: str) -> tuple[Examples, Examples]:
    """(to learn from, to judge by)."""
    whole = read_examples(kit / "images" / f"{name}.npz")
    each, others = 40, 200
    if name == "omniglot8":
        whole, each, others = of_classes(whole, np.flatnonzero(whole.class_split == 2)[:20]), 12, 160
    train = some_rows(whole.labels, each, "train")
    rest = np.setdiff1d(np.arange(len(whole)), train)
    if name == "clothing10":
        rest = np.setdiff1d(rest, rest[some_rows(whole.labels[rest], 20, "pilot")])
    test = rest[some_rows(whole.labels[rest], others // len(whole.class_names), "test")]
    return whole.take(train), whole.take(test)


def stages(backbone: Backbone) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The groups of a backbone, those of a stage together: stem, blocks.0, ..., final."""
    found: dict[str, list[str]] = {}
    for title, members in backbone.groups:
        found.setdefault(".".join(title.split(".")[:2]), []).extend(members)
    return tuple((title, tuple(members)) for title, members in found.items())


class Study:
    """One set: its rows, its starts, and the files of its results."""

    def __init__(self, kit: Path, out: Path, name: str) -> None:
        self.name, self.out = name, out
        self.train, self.test = rows_of(kit, name)
        machine = Machine(device="cpu")
        pretrained = load_backbone(NAME, weights=kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors", machine=machine)
        random = load_backbone(f"{NAME},pretrained=false", machine=machine)
        self.starts = {"pretrained": pretrained, "random": random, "pretrained, batch": pretrained}
        self.facts = out / f"{name}.facts.jsonl"
        self.known = {}
        if self.facts.exists():
            self.known = dict(json.loads(line) for line in self.facts.read_text().splitlines() if line.endswith("]"))

    def fact(self, what: str, find: Any) -> Any:
        """A finding: as it was written, or found and written."""
        if what not in self.known:
            self.known[what] = find()
            with self.facts.open("a") as file:
                file.write(json.dumps([what, self.known[what]]) + "\n")
            print(f"{self.name} {what} {json.dumps(self.known[what])[:300]} ({time.process_time():.0f} s)", flush=True)
        return self.known[what]

    def settings(self, start: str) -> Finetuning:
        usual = replace(USUAL, statistics="kept" if start == "pretrained" else "batch")
        rate = self.fact(f"rate of {start}", lambda: best_rate(self.starts[start], self.train, replace(usual, steps=120), RATES[start]))
        return replace(usual, rate=rate)

    def curves(self, start: str, blocks: list[int], seeds: list[int]) -> None:
        def ended(curve: Curve, run: Finetuned) -> None:
            print(f"{self.name} {curve.start} {curve.block} {curve.seed} {curve.right.mean(1).round(3).tolist()}", flush=True)
            if curve.block == WHOLE:
                safetensors.torch.save_file({n: t.contiguous() for n, t in run.weights.items()}, self.weights(start, curve.seed))

        one, lines = {start: self.starts[start]}, self.out / f"{self.name}.curves.jsonl"
        start_curves(one, self.train, self.test, self.settings(start), blocks=blocks, seeds=seeds, lines=lines, ended=ended)

    def weights(self, start: str, seed: int) -> Path:
        return self.out / f"{self.name}-{start.replace(', ', '-')}-{seed}.safetensors"

    def end(self, start: str, seed: int) -> dict[str, torch.Tensor]:
        return safetensors.torch.load_file(self.weights(start, seed))

    def between(self, one: tuple[str, int], two: tuple[str, int]) -> dict[str, Any]:
        """The barriers of accuracy, loss and AUC between two runs."""
        seen = Seen(self.test, self.starts[one[0]])
        first, second = self.end(*one), self.end(*two)
        differ = any(not torch.equal(first[n], second[n]) for n in first if "running" in n)
        inputs = Seen(self.train, self.starts[one[0]])
        batches = [inputs.inputs(list(range(i, len(self.train), 4))) for i in range(4)][:2] if differ else []
        settle = (lambda w: reestimated(self.starts[one[0]], w, batches)) if differ else None
        logits = torch.from_numpy(interpolation(first, second, lambda w: seen.logits(w).numpy(), POINTS, settle))
        truth = self.test.labels
        p = logits.softmax(-1).numpy()
        loss = -logits.log_softmax(-1).numpy()[:, np.arange(len(truth)), truth]
        right = p.argmax(-1) == truth
        found = {
            "accuracy": barrier(POINTS, right),
            "loss": barrier(POINTS, loss, "loss"),
            "auc": barrier(POINTS, p, "auc", truth, resamples=200),
        }
        said = {n: [b.value.mean, b.value.low, b.value.high] for n, b in found.items()}
        return {**said, "middle": _spread(found["accuracy"].middle), "curve": right.mean(1).tolist(), "settled": differ}

    def modules(self, start: str) -> dict[str, Any]:
        """Criticality and rewinding by stage."""
        backbone, end = self.starts[start], self.end(start, 0)
        begin = {**end, **backbone.start()}
        some = Seen(self.train.take(np.arange(0, len(self.train), max(1, len(self.train) // 64))[:64]), backbone)
        groups, test = stages(backbone), Seen(self.test, backbone)
        error = lambda w: 1 - float(some.right(w).mean())  # noqa: E731
        found = criticality(begin, end, groups, error, alphas=(0, 0.25, 0.5, 0.75, 1), sigmas=(4, 2, 1, 0.5, 0.25), samples=2)
        whole = test.right(end).astype(float)
        falls = rewind(begin, end, with_buffers(groups, list(end)), lambda w: paired_interval(whole - test.right(w)))
        trend = grows_with_depth(found)
        each = {t: [m.value, m.alpha, m.sigma, m.distance] for t, m in found.modules.items()}
        rewound = {t: _spread(v) for t, v in falls.items()}
        return {"error": error(end), "criticality": each, "total": found.total, "trend": [trend.rho, trend.p], "rewound": rewound}

    def valley(self, start: str) -> dict[str, Any]:
        """Test error on the way of each stage, without noise and with noise of its own distance."""
        backbone, end = self.starts[start], self.end(start, 0)
        some = Seen(self.test.take(np.arange(0, len(self.test), 2)), backbone)
        error = lambda w: 1 - float(some.right(w).mean())  # noqa: E731
        begin = {**begun(backbone, len(self.test.class_names)), **{n: t for n, t in end.items() if n not in backbone.start()}}
        found = valley(begin, end, stages(backbone), error, alphas=(0, 0.25, 0.5, 0.75, 1), sigmas=(0, 1), samples=1)
        return {t: v.errors.T.tolist() for t, v in found.items()}

    def run(self, blocks: list[int], valleys: bool) -> None:
        for start in ("pretrained", "random"):
            self.curves(start, [WHOLE], [0, 1])
            self.fact(f"pair {start}", lambda: self.between((start, 0), (start, 1)))  # noqa: B023
        self.fact("across", lambda: self.between(("pretrained", 0), ("random", 0)))
        self.curves("pretrained, batch", [WHOLE], [0])
        for start in ("pretrained", "random"):
            self.curves(start, blocks, [0])
        for start in ("pretrained", "random"):
            self.fact(f"modules {start}", lambda: self.modules(start))  # noqa: B023
            if valleys:
                self.fact(f"valley {start}", lambda: self.valley(start))  # noqa: B023
        self.fact("cpu seconds", time.process_time)


def _spread(value: Any) -> list[float]:
    return [value.mean, value.low, value.high]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", default="clothing10")
    parser.add_argument("--blocks", type=int, nargs="*", default=[])
    parser.add_argument("--valley", action="store_true")
    parser.add_argument("--summary", action="store_true")
    asked = parser.parse_args()
    if asked.summary:
        from starts_summary import summary

        print(summary(asked.out))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    Study(asked.kit, asked.out, asked.set).run(asked.blocks, asked.valley)


if __name__ == "__main__":
    main()
