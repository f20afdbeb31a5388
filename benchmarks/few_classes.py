"""Meta-overfitting: how far apart are the classes of training and new ones, and does it shrink with more training classes?

    OMP_NUM_THREADS=1 python benchmarks/few_classes.py KIT OUT.jsonl [--seeds 0 1 2]   # a JSON line a seed

Written down before it was run. Conv4 (28 px, grey, 32 channels) from random weights learns characters of Omniglot by episodes (5-way,
1 + 5 rows) of 5, 15, 45 or all 136 training characters, 12 rows of each; the seed draws characters, rows, weights and episodes. ProtoNet
(300 updates of 1 episode) and ANIL (one inner step of .4, 75 updates of 4 episodes): 9,000 rows are looked at whatever the number of
characters; Adam, .002 falling along a cosine. 400 episodes (5-way, 1 + 5 rows), answered as in training, of the rows that were learned
from, of other rows of the same characters, and of 106 characters of new alphabets. As the same few characters may be easy or hard, each is
also answered by the untrained network. Asked: accuracy on other rows of training characters minus that on new characters, beyond the same
difference untrained (95% t over seeds); and does accuracy on new characters rise with their number at the same budget?
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_seed import lines_of, parser_of, shown

from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads import Centroid
from fewtune.parts.optimizers import Adam
from fewtune.parts.rates import Cosine
from fewtune.recipes import anil, protonet
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows

COUNTS, LEARNED, EPISODES = (5, 15, 45, 136), 12, 400
DRAW = Sampled(ways=5, shots=1, queries=5)
RATE = Cosine(lr=2e-3)
METHODS = {
    "ProtoNet": protonet(ways=5, shots=1, queries=5, steps=300, lr=RATE),
    "ANIL": anil(ways=5, shots=1, queries=5, inner_steps=1, inner_lr=0.4, steps=75, batch=4, lr=RATE, optimizer=Adam()),
}
PLACES = ("learned rows", "other rows", "new characters")


class Characters:
    """The characters of one seed: an order of the training ones, the rows to learn from, and the others."""

    def __init__(self, kit: Path, seed: int) -> None:
        examples = read_examples(kit / "images" / "omniglot8.npz")
        self.space, self.seed = RowSpace([examples], remember=1 << 29), seed
        drawn = key(seed, "few classes").generator()
        self.order = drawn.permutation(np.flatnonzero(examples.class_split == 0))
        rows = drawn.permutation(len(examples))
        self.mine = {c: rows[examples.labels[rows] == c] for c in self.order}
        self.new = class_rows(self.space, "test")
        self.ground = Ground(load_backbone(f"conv4,grey=true,width=32,seed={seed}", machine=Machine(device="cpu")), self.space)

    def some(self, count: int, *, learned: bool) -> Tasks:
        """The first so many characters, by the rows to learn from or by the others."""
        part = slice(None, LEARNED) if learned else slice(LEARNED, None)
        return class_rows(self.space, rows=np.sort(np.concatenate([self.mine[c][part] for c in self.order[:count]])))

    def accuracy(self, method: Method, weights: Mapping[str, torch.Tensor], tasks: Tasks) -> float:
        episodes, right = DRAW.draw(tasks, key(self.seed, "asked"), 0, EPISODES), []
        with torch.no_grad():
            for first in range(0, EPISODES, 20):
                some = episodes[first : first + 20]
                right.append(
                    respond(self.ground, method.learner, weights, some, key(self.seed, "answers")).logits.argmax(-1) == some.query_label
                )
        return float(torch.cat(right).double().mean())


def line_of(kit: Path, seed: int) -> dict[str, Any]:
    """One seed: accuracies on three kinds of rows, for every method and number of characters, beside the untrained network."""
    characters, found = Characters(kit, seed), {}
    untrained = Method(learner=Centroid())
    for count in COUNTS:
        asked = {"learned rows": characters.some(count, learned=True), "other rows": characters.some(count, learned=False)}
        asked["new characters"] = characters.new
        runs = {"untrained": (untrained, characters.ground.start())}
        for name, method in METHODS.items():
            trained = train(characters.ground, method.phases, asked["learned rows"], key(seed, "few classes", count))
            runs[name] = (method, trained.weights)
        found[str(count)] = {n: {place: characters.accuracy(*run, tasks) for place, tasks in asked.items()} for n, run in runs.items()}
        print(seed, count, found[str(count)], f"{time.process_time():.0f} s", flush=True)
    return {"seed": seed, "accuracy": found, "seconds": time.process_time()}


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    def of(name: str, count: str, place: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([100 * line["accuracy"][count][name][place] for line in lines])

    counts = list(lines[0]["accuracy"])
    print(f"{len(lines)} seeds\n\n| | characters | {' | '.join(PLACES)} | beyond untrained, other minus new | new, minus that of 5 |")
    print("|---|" + "--:|" * (len(PLACES) + 3))
    for name in ("untrained", *METHODS):
        for count in counts:
            cells = [shown(of(name, count, place)) for place in PLACES]
            gap = of(name, count, "other rows") - of(name, count, "new characters")
            gap = gap - of("untrained", count, "other rows") + of("untrained", count, "new characters")
            more = of(name, count, "new characters") - of(name, counts[0], "new characters")
            cells += ["", ""] if name == "untrained" else [shown(gap, sign=True), shown(more, sign=True)]
            print(f"| {name} | {count} | {' | '.join(cells)} |")


def main() -> None:
    asked = parser_of(__doc__, range(3)).parse_args()
    tables(lines_of(asked, lambda seed: line_of(asked.kit, seed)))


if __name__ == "__main__":
    main()
