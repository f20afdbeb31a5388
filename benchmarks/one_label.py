"""One example a class: is the learner that is best on classes of other data better than the usual one?

    OMP_NUM_THREADS=1 python benchmarks/one_label.py KIT --out one.jsonl [--sets dtd10 hwu64] [--draws 20] [--cache FOLDER]

The sources are the training classes of the other sets of the same kind (`others`), or those of the set itself (`own`); each gives 40
episodes with one example a class and as many classes as the target, 15 at most. The learner that `sources.single` takes by these is
compared with the usual one (`usual.alone_of`) on draws of the set's test classes: one labelled example of each, at most 15 classes, up to
60 others of each class. One JSON line a draw; at the end a table, in points beyond the usual learner.

Written down before it was run: the choice by sources is used if it is not more than .2 points below the usual learner on average over
sets, with sources of either kind. docs/reproductions.md says what came of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from heads import IMAGES, drawn, given_by, opened, right, usable

from fewtune.backbones.features.feature_table import feature_table
from fewtune.data.examples import SPLITS
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.usual import alone_of
from fewtune.recipes.default_learners import candidates
from fewtune.sources.answering import accuracies_by_class, vectors_of_classes
from fewtune.sources.single import BestLearner
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import source_tasks

SETS = ("dtd10", "clothing10", "cifar10", "omniglot8", "caltech101", "hwu64", "clinc150", "news20")
MOST_WAYS, EPISODES = 15, 40


def main() -> None:
    given = given_by(__doc__, shots=[1])
    sets = [name for name in given.sets if name in SETS]
    loaded: dict[str, Any] = {}
    for name in sets:
        examples, backbone = opened(given.kit, name)
        loaded[name] = examples, Side(backbone, feature_table(backbone, RowSpace([examples]), folder=given.cache, quiet=True).features)
    known: dict[tuple[str, int], dict[str, Any]] = {}
    with given.out.open("a") as out:
        for name in sets:
            examples, side = loaded[name]
            classes = usable(examples, "test", 1)
            ways = min(MOST_WAYS, len(classes))
            methods = candidates(label_side=side.backbone.label_side, modality=side.backbone.preparation.modality, single=True)
            for source in sets:
                if (source in IMAGES) == (name in IMAGES) and (source, ways) not in known:
                    known[source, ways] = on_training_classes(*loaded[source], ways, methods)
            others = [source for source in sets if source != name and (source in IMAGES) == (name in IMAGES)]
            chosen = {"usual": alone_of(methods), "own": best([known[name, ways]], alone_of(methods))}
            if others:
                chosen["others"] = best([known[source, ways] for source in others], alone_of(methods))
            for seed in range(given.draws):
                taken, rows, y, asked, truth = drawn(examples, classes, 1, seed)
                names = tuple(examples.class_names[c] for c in taken)
                found = {text: right(methods[text], side, rows, y, names, asked, truth) for text in set(chosen.values())}
                line = {"set": name, "seed": seed, "chosen": chosen, **{what: found[text] for what, text in chosen.items()}}
                out.write(json.dumps(line) + "\n")
                out.flush()
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def on_training_classes(examples: Any, side: Side, ways: int, methods: Any) -> dict[str, Any]:
    """The accuracy of every learner on each training class of a set."""
    space = RowSpace([examples])
    inside = np.flatnonzero(examples.class_split == SPLITS["train"])
    tasks = source_tasks(space, "all", np.flatnonzero(np.isin(examples.labels, inside)))
    sampler = Sampled(ways=min(ways, len(inside)), shots=1, queries=10)
    batches = [sampler.draw(tasks, key(0, "one label", examples.name), 0, EPISODES)]
    vectors = vectors_of_classes(side, methods.values(), batches, space.class_names)
    return {name: accuracies_by_class(side, method, batches, vectors) for name, method in methods.items()}


def best(found: Sequence[dict[str, Any]], usual: str) -> str:
    """The learner to take by the classes of some sets."""
    return BestLearner({name: np.concatenate([one[name] for one in found]) for name in found[0]}, usual, len(found)).name


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a set: the usual learner, and points beyond it with 95% intervals over draws; then the mean over sets."""
    out = ["| set | usual | accuracy | own classes choose | points | other sets choose | points |", "|---" * 7 + "|"]
    means: dict[str, list[float]] = {"own": [], "others": []}
    for name in dict.fromkeys(x["set"] for x in lines):
        mine = [x for x in lines if x["set"] == name]
        cells = [f"{name} | {mine[0]['chosen']['usual']} | {100 * np.mean([x['usual'] for x in mine]):.1f}"]
        for what in means:
            gaps = [100 * (x[what] - x["usual"]) for x in mine if what in x]
            if gaps:
                means[what].append(float(np.mean(gaps)))
            said = f"{np.mean(gaps):+.1f} ± {1.96 * np.std(gaps, ddof=1) / np.sqrt(len(gaps)):.1f}" if gaps else ""
            cells.append(f"{mine[0]['chosen'].get(what, '')} | {said}")
        out.append(f"| {' | '.join(cells)} |")
    out.append(f"| mean | | | | {np.mean(means['own']):+.2f} | | {np.mean(means['others']):+.2f} |")
    return "\n".join(out)


if __name__ == "__main__":
    main()
