"""A small network upstream: which checkpoint is enough, where in it a task can be read off, and what the head's decay and rate do.

    OMP_NUM_THREADS=1 python benchmarks/upstream.py KIT OUT [--visits 20000] [--seeds 0 1 2]   # a JSON line a part in OUT/lines.jsonl

Written down before it was run. Conv4 (32 px, 32 channels) from random weights on the train classes of Tiny ImageNet, 60 rows a class,
20,000 looks, supervised and by SimCLR, four checkpoints each. Downstream: Clothing, 20 photos of each of 10 classes to learn from, 200
others to be judged by.

1. Checkpoints (Neyshabur et al. 2020, section 3.4): each is finetuned whole, 80 steps of 16 at .01, three seeds (orders of rows). Claim:
   one can start from an early checkpoint without a loss of final accuracy. Asked: the first one that is shown to end at most two points
   below the last.
2. Depth (Abnar et al. 2022, section 3): accuracy of a head on every group, for the pretraining task (20 of its classes, 20 rows of each to
   learn from and 20 to be judged by that pretraining did not see) and downstream, for both runs and random weights. Claim: upstream
   accuracy rises up to the last layer, downstream accuracy need not.
3. Head (section 4): 150 steps of 32 on 20 train classes (100 rows each) with weight decay of the head 0, .01, .1 and .3, or its rate .003,
   .01 and .03 (all else .03), three seeds. Claims: more decay, or a smaller rate, of the head lowers upstream accuracy and margin at the
   head; downstream accuracy rises.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transfer import some_rows

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, of_classes
from fewtune.data.reading.read import read_examples
from fewtune.evaluation.run_folder import Keeping
from fewtune.machine import Machine
from fewtune.pretraining.pretrain import pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.statistics import t_interval
from fewtune.studies.starts import Finetuning, Seen, checkpoint_curves, head_study
from fewtune.transfer import depth_probe, layer_features

CPU = Machine(device="cpu")
NETWORK = "conv4,size=32,width=32"
WEAKER = "simclr(strength=0.5, least=0.3, blur=0.0)"
OBJECTIVES: dict[str, dict[str, Any]] = {"supervised": {}, "simclr": {"view": WEAKER}}
CHECKPOINTS = Finetuning(steps=80, batch=16, rate=0.01, watch=20)
HEADS = Finetuning(steps=150, batch=32, rate=0.03)
DECAYS, RATES = (0.0, 0.01, 0.1, 0.3), (0.003, 0.01, 0.03)


class Rows:
    """Upstream rows that are learned from, other upstream rows of some classes, and downstream rows."""

    def __init__(self, kit: Path) -> None:
        whole = read_examples(kit / "images" / "tiny_imagenet.npz")
        upstream = of_classes(whole, np.flatnonzero(whole.class_split == 0))
        learned = some_rows(upstream.labels, 60, "learned")
        self.learned, rest = upstream.take(learned), upstream.take(np.setdiff1d(np.arange(len(upstream)), learned))
        self.probed = parted(of_classes(rest, np.arange(20)), 20, 20)
        self.heads = parted(of_classes(upstream, np.arange(20)), 100, 30)
        self.downstream = parted(read_examples(kit / "images" / "clothing10.npz"), 20, 20)


def parted(examples: Examples, some: int, others: int) -> tuple[Examples, Examples]:
    """So many rows of each class to learn from, so many others to be judged by."""
    first = some_rows(examples.labels, some, "few")
    rest = np.setdiff1d(np.arange(len(examples)), first)
    return examples.take(first), examples.take(rest[some_rows(examples.labels[rest], others, "judged")])


def by_depth(backbone: Backbone, parts: tuple[Examples, Examples]) -> dict[str, list[float]]:
    """Accuracy of a head on every group, with its interval over rows."""
    with torch.no_grad():
        few, judged = (layer_features(backbone, backbone.start(), list(Seen(part, backbone).batches())) for part in parts)
    found = depth_probe({title: (few[title], judged[title]) for title in few}, parts[0].labels, parts[1].labels)
    return {title: [probe.accuracy.mean, probe.accuracy.low, probe.accuracy.high] for title, probe in found.items()}


def checkpoints(rows: Rows, run: Path, seeds: list[int]) -> dict[str, Any]:
    """Final accuracy and speed downstream of every checkpoint of a run."""
    found = checkpoint_curves(run, *rows.downstream, CHECKPOINTS, seeds=seeds, lines=run.with_suffix(".jsonl"), machine=CPU)
    speed = found.convergence()
    ends = {step: [one.final.mean, one.final.low, one.final.high, one.steps.mean] for step, one in speed.items()}
    return {"ends": ends, "behind": {s: [g.mean, g.low, g.high] for s, g in found.behind().items()}, "enough": found.enough(0.02)}


def heads(rows: Rows, knob: Any, values: tuple[float, ...], seeds: list[int]) -> dict[str, Any]:
    """What is measured of each value of the knob, a list over seeds."""
    made = {}
    for seed in seeds:
        backbone = load_backbone(NETWORK, machine=CPU)
        for one in head_study(backbone, *rows.heads, {"downstream": rows.downstream}, HEADS, knob, values, seed=seed):
            seen = {"upstream": one.upstream.mean, "downstream": one.downstream["downstream"].mean}
            seen |= {"margin at the head": one.head_margin, "norm of the head": one.head_norm}
            seen |= {f"margin at {title}": margin for title, margin in one.layer_margins.items()}
            for name, value in seen.items():
                made.setdefault(str(one.value), {}).setdefault(name, []).append(value)
    return {value: {name: each(seen) for name, seen in some.items()} for value, some in made.items()}


def each(values: list[float]) -> dict[str, Any]:
    found = t_interval(np.array(values))
    return {"mean": found.mean, "half": found.half_width, "by_seed": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--visits", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = Rows(asked.kit)

    def say(part: str, found: Any) -> None:
        line = json.dumps({"part": part, "found": found, "seconds": round(time.process_time())})
        print(line, flush=True)
        with (asked.out / "lines.jsonl").open("a") as file:
            file.write(f"{line}\n")

    starts = {"random": load_backbone(NETWORK, machine=CPU)}
    for objective, more in OBJECTIVES.items():
        how = PretrainSettings(objective=objective, visits=asked.visits, checkpoints=4, probe=False, **more)  # type: ignore[arg-type]
        run = asked.out / objective
        made = pretrain_examples([rows.learned], load_backbone(NETWORK, machine=CPU), how, Keeping(out=run, overwrite=True))
        assert made is not None
        starts[objective] = made.backbone
        say(f"checkpoints of {objective}", checkpoints(rows, run, asked.seeds))
    for name, backbone in starts.items():
        say(f"depth, {name}", {"upstream": by_depth(backbone, rows.probed), "downstream": by_depth(backbone, rows.downstream)})
    say("head_decay", heads(rows, "head_decay", DECAYS, asked.seeds))
    say("head_rate", heads(rows, "head_rate", RATES, asked.seeds))


if __name__ == "__main__":
    main()
