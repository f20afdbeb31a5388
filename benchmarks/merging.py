"""Three networks finetuned on three domains of PACS become one, by every rule, beside joint training and each of them alone.

    python benchmarks/merging.py KIT OUT.jsonl [--seeds 0 1 2 3 4] [--steps 80]  # a JSON line a seed
    python benchmarks/merging.py KIT OUT.jsonl --table                           # the tables of the lines that are there

MobileNetV2 (ImageNet weights) at 96 pixels, 50 photos a class and domain to learn from, up to 50 others to be judged by; the seed draws
both. The start is a new head on the frozen network, trained on the domain "photo" alone. Each member then moves blocks 4 to 6, the last
layer and the head on one of the other domains (80 updates of 32, Adam, .0002 falling along a cosine); joint training has the three domains
together, for as many updates as all members together, and for as many as one. Rules have the settings they are shipped with, and task
arithmetic is asked at a second scale; they were written down before they were run, and nothing is chosen by what is judged. "answers"
is the mean of the members' probabilities (three networks instead of one). On the line between two members each domain is judged alone.
Intervals are Student's t over seeds.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_seed import lines_of, parser_of, shown
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import Key, key
from fewtune.learning.ground import Ground
from fewtune.learning.layer_inputs import input_grams
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Linear
from fewtune.parts.merging import Dare, IsoC, ModelStock, RegMean, TaskArithmetic, Ties, Uniform, merge
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Cosine
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.task import Tasks, group_tasks
from fewtune.transfer import barrier, interpolation

NAME = "timm:mobilenetv2_100,pad_type=same,mean=0.5,std=0.5,crop_pct=1,size=96"
START, MEMBERS = "photo", ("art_painting", "cartoon", "sketch")
GROUPS = ("blocks.[456]*", "final")
ROWS = 50  # to learn from, and at most to be judged by, of each class and domain
RATE, BATCH = 2e-4, 32
HEAD_RATE, HEAD_STEPS = 1e-3, 60
LINE = tuple(i / 8 for i in range(9))
RULES = {
    "uniform": Uniform(),
    "task arithmetic, .3": TaskArithmetic(scale=0.3),
    "task arithmetic, 1": TaskArithmetic(scale=1.0),
    "TIES": Ties(),
    "DARE": Dare(),
    "model stock": ModelStock(),
    "Iso-C": IsoC(),
    "RegMean": RegMean(),
}


@dataclass(frozen=True)
class Only:
    """Supervised batches of some tasks alone."""

    which: tuple[int, ...]

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        return Pooled(batch=BATCH).draw(tasks.take(self.which), key.child(*self.which), first, count)


class Domains:
    """The rows of each domain, to learn from and to be judged by, for one seed."""

    def __init__(self, kit: Path, seed: int) -> None:
        whole = read_examples(kit / "images" / "pacs.npz")
        order = np.argsort(key(seed, "merging rows").uniform(np.arange(len(whole), dtype=np.uint64)), kind="stable")
        part = whole.group * len(whole.class_names) + whole.labels
        self.learned: dict[str, np.ndarray] = {}
        self.judged: dict[str, np.ndarray] = {}
        for number, name in enumerate(whole.group_names):
            mine = [order[part[order] == number * len(whole.class_names) + c] for c in range(len(whole.class_names))]
            self.learned[name] = np.sort(np.concatenate([rows[:ROWS] for rows in mine]))
            self.judged[name] = np.sort(np.concatenate([rows[ROWS : 2 * ROWS] for rows in mine]))
        self.names = tuple(whole.group_names)
        self.space, self.labels = RowSpace([whole], remember=1 << 29), whole.labels
        self.tasks = group_tasks(self.space, rows=np.concatenate(list(self.learned.values())))
        backbone = load_backbone(NAME, weights=kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors", machine=Machine(device="cpu"))
        moving = {n for title, names in backbone.groups if any(fnmatchcase(title, g) for g in GROUPS) for n in names}
        ground = Ground(backbone, self.space)
        self.begun = ground.start()
        self.ground = ground.holding(self.begun, moving)  # what lies below is computed once for all runs
        self.seed = seed

    def trained(self, domains: Sequence[str] = (), steps: int = 0) -> dict[str, Tensor]:
        """The head alone on the domain of the start, then so many steps on other domains together."""
        head = Linear(rows="class", start="random", name="source")

        def phase(of: Sequence[str], steps: int, *rules: tuple[str, Cosine | float]) -> Phase:
            sampler = Only(tuple(self.names.index(name) for name in of))
            plan = Plan(rules=(*rules, ("*", 0.0)))
            return Phase(sampler=sampler, learner=head, plan=plan, steps=steps, optimizer=AdamW(weight_decay=0.0))

        rate = Cosine(lr=RATE)
        phases = [phase((START,), HEAD_STEPS, ("source.*", Cosine(lr=HEAD_RATE)))]
        if steps:
            phases.append(phase(domains, steps, ("source.*", rate), *((f"group:{g}", rate) for g in GROUPS)))
        found = train(self.ground, tuple(phases), self.tasks, key(self.seed, "merging"))
        return {**self.begun, **{n: t for n, t in found.weights.items() if n in found.moved or n not in self.begun}}

    def logits(self, weights: Mapping[str, Tensor], domain: str) -> Tensor:
        with torch.no_grad():
            features = self.ground.embed(weights, torch.from_numpy(self.judged[domain]))
        return features @ weights["source.weight"].T + weights["source.bias"]

    def right(self, logits: Tensor, domain: str) -> np.ndarray:
        return logits.argmax(1).numpy() == self.labels[self.judged[domain]]


def line_of(domains: Domains, steps: int) -> dict[str, Any]:
    """One seed: accuracies of every network on every domain; and on the lines between members, how far the middle is above the ends."""
    judge = lambda w: {d: float(domains.right(domains.logits(w, d), d).mean()) for d in domains.names}  # noqa: E731
    start = domains.trained()
    ends = {name: domains.trained((name,), steps) for name in MEMBERS}
    found = {"start": judge(start), **{f"{name} alone": judge(end) for name, end in ends.items()}}
    found["joint, as many updates as all"] = judge(domains.trained(MEMBERS, steps * len(MEMBERS)))
    found["joint, as many updates as one"] = judge(domains.trained(MEMBERS, steps))
    grams = [input_grams(domains.ground, end, domains.learned[name][:256].tolist()) for name, end in ends.items()]
    for name, rule in RULES.items():
        found[name] = judge(merge(rule, start, list(ends.values()), grams=grams))
    answers = {d: torch.stack([domains.logits(end, d).softmax(1) for end in ends.values()]).mean(0) for d in domains.names}
    found["answers"] = {d: float(domains.right(p, d).mean()) for d, p in answers.items()}
    between = {}
    for one, two in itertools.combinations(MEMBERS, 2):
        for d in domains.names:
            right = interpolation(ends[one], ends[two], lambda w: domains.right(domains.logits(w, d), d), LINE)  # noqa: B023
            gap = barrier(LINE, right)
            middle = [gap.middle.mean, gap.middle.low, gap.middle.high]
            barriers = [gap.value.mean, gap.value.low, gap.value.high]
            between[f"{one} - {two} on {d}"] = {"curve": right.mean(1).tolist(), "barrier": barriers, "middle": middle}
    return {"seed": domains.seed, "steps": steps, "accuracy": found, "line": between, "seconds": time.process_time()}


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    names = list(lines[0]["accuracy"])
    domains = (*MEMBERS, START)
    of = lambda name, d: np.array([100 * line["accuracy"][name][d] for line in lines])  # noqa: E731
    mean = lambda name: np.mean([of(name, d) for d in MEMBERS], axis=0)  # noqa: E731
    print(f"{len(lines)} seeds\n\n| network | {' | '.join(domains)} | mean of the three | minus uniform |\n|---|" + "--:|" * 6)
    for name in names:
        cells = [f"{of(name, d).mean():.1f}" for d in domains]
        print(f"| {name} | {' | '.join(cells)} | {shown(mean(name))} | {shown(mean(name) - mean('uniform'), sign=True)} |")
    print("\n| line between, judged on | first | second | best inside | at | above the straight line | barrier |\n|---|" + "--:|" * 6)
    for place in lines[0]["line"]:
        curve = 100 * np.mean([line["line"][place]["curve"] for line in lines], axis=0)
        inside = int(curve[1:-1].argmax()) + 1
        middle, gap = (shown(np.array([100 * line["line"][place][what][0] for line in lines])) for what in ("middle", "barrier"))
        print(f"| {place} | {curve[0]:.1f} | {curve[-1]:.1f} | {curve[inside]:.1f} | {LINE[inside]:g} | {middle} | {gap} |")


def main() -> None:
    parser = parser_of(__doc__, range(5))
    parser.add_argument("--steps", type=int, default=80)
    asked = parser.parse_args()
    tables(lines_of(asked, lambda seed: line_of(Domains(asked.kit, seed), asked.steps)))


if __name__ == "__main__":
    main()
