"""Do random views of the labelled photos help finetuning on them?

    OMP_NUM_THREADS=1 python benchmarks/views.py KIT --out views.jsonl [--sets clothing10 pacs] [--shots 8] [--draws 2]

Draws of photos as in benchmarks/adapting.py. MobileNetV2 is finetuned on all labels by the usual recipe for photos, with and without
`view=Augment()`, and what `adapt` puts on such features answers the other photos. One JSON line a draw, with processor seconds.

Written down before it was run: views are tried by default if they bring at least 1 point on average over the draws and lose on neither
set. Less is not worth their time: a random view runs through all of the network, where plain photos are read from the cut table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adapting import drawn
from calibrating import LEARNERS, SETS, logits
from heads import given_by, opened

from fewtune.data.row_space import RowSpace
from fewtune.learners.target import usable_target
from fewtune.sides.own import OwnTuner, own_method
from fewtune.sides.route import side_of
from fewtune.sides.settings import WITH_HEAD, WITH_VIEWS
from fewtune.statistics import t_interval

RECIPES = {"plain": WITH_HEAD, "views": WITH_VIEWS}


def main() -> None:
    given = given_by(__doc__, shots=[8])
    done = {(x["set"], x["seed"]) for x in map(json.loads, given.out.read_text().splitlines())} if given.out.exists() else set()
    with given.out.open("a") as out:
        for seed in range(given.draws):
            for name in [one for one in given.sets if one in SETS and (one, seed) not in done]:
                out.write(json.dumps({"set": name, "seed": seed, **measured(given.kit, name, given.shots[0], seed, given.cache)}) + "\n")
                out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def measured(kit: Path, name: str, shots: int, seed: int, cache: Path | None) -> dict[str, float]:
    """The accuracy and the processor seconds of one finetuning run by each recipe."""
    examples, backbone = opened(kit, name)
    labelled, rest = drawn(examples, "test", shots, seed)
    target = usable_target(labelled, backbone, cache=cache, skip_bad=False, quiet=True)
    names = {c: i for i, c in enumerate(target.class_names)}
    truth, labels = np.array([names[rest.class_names[c]] for c in rest.labels]), target.labels[target.support]
    found = {}
    for what, recipe in RECIPES.items():
        began = time.process_time()
        made = OwnTuner(target, RowSpace([target.examples]), backbone, own_method(recipe), seed).made(target.support).side
        found[f"{what} s"] = round(time.process_time() - began, 1)
        new = side_of(made.backbone, RowSpace([rest]), np.arange(len(rest))).features
        answered = logits(LEARNERS["without Gaussian"], made.features, target.support, labels, len(names), new)
        found[what] = float((answered.argmax(1) == truth).mean())
    return found


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a set, and the gain over all draws with its 95% interval."""
    out = ["| set | draws | plain | with views | seconds | with views |", "|---" * 6 + "|"]
    for name in dict.fromkeys(x["set"] for x in lines):
        mine = [x for x in lines if x["set"] == name]
        plain, views, cost, more = (np.mean([x[k] for x in mine]) for k in ("plain", "views", "plain s", "views s"))
        out.append(f"| {name} | {len(mine)} | {100 * plain:.1f} | {100 * views:.1f} | {cost:.0f} | {more:.0f} |")
    gain = t_interval([100 * (x["views"] - x["plain"]) for x in lines])
    return "\n".join([*out, f"views - plain: {gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f}) over {len(lines)} draws"])


if __name__ == "__main__":
    main()
