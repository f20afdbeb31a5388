"""Which tasks to finetune on? The choices of tasks against each other, on texts and at equal work.

    OMP_NUM_THREADS=1 python benchmarks/choices.py KIT --out choices.jsonl [--targets trec6 cr] [--seeds 0 1 2 3 4] [--minutes 60]

KIT is the folder of the benchmark kit. Seed by seed, each target is a line of the file, written when it is done; what is there is not done
again. It stops before a target that would begin after so many `--minutes` of processor time. At the end, or alone with --tables, the
tables over whole seeds. docs/reproductions.md says what was to be compared, and by which test, before it was run.

Every choice finetunes the last layer of all-MiniLM-L6-v2 in the same number of steps, of as many rows and at the same rate, and a ridge
regression on the target's labelled rows answers its other rows. Nothing goes back towards the start and no guard is asked: only the tasks
differ. The states below the last layer are computed once for all choices of a run.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.cutting.cut_store import CutStore
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import NO_SPLIT, SPLITS, Examples, Integers, of_classes
from fewtune.data.few import few_labelled
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.target import Target, usable_target
from fewtune.learning.budget import fit_phases
from fewtune.learning.ground import HELD_BYTES, Ground
from fewtune.learning.phase import phases_of
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.models.fitting import fit_head
from fewtune.recipes.language import read_method
from fewtune.sides.clock import Clock
from fewtune.sides.job import Job, Workplace
from fewtune.sources.source_rows import usable_rows
from fewtune.statistics import sign_flip_test, t_interval
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import (
    Evidence,
    Traced,
    all_tasks,
    consistency_diversity,
    gradients,
    no_consistency,
    random_tasks,
    round_robin,
)
from fewtune.tasks.task import Tasks

TARGETS = ("clinc150", "news20", "agnews4", "trec6", "tweet_emotion4", "subj", "cr", "sst2", "sst5")
SOURCES = ("hwu64", *TARGETS)
CLASSES, SHOTS, TESTED = 5, 8, 400  # of a target: classes at most, labelled rows of a class, rows that are answered at most
EACH, LEAST_ROWS, STEPS = 8, 32, 50  # rows of a class in an episode (half are shown), rows of a step at least, steps
CANDIDATES = 50  # tasks of a source
LAYER = "group:model.encoder.layer.5"
WHOLE = Ground.holding
BASE, ASKED = "skip", "no consistency"  # the default, and the one choice that is asked about alone
ANSWER = read_method("ridge")


def choices(seed: int) -> dict[str, Traced]:
    return {
        BASE: consistency_diversity(mode="skip"),
        "stop": consistency_diversity(mode="stop"),
        ASKED: no_consistency(mode="skip", seed=seed),
        "round robin": round_robin(),
        "gradients": gradients(),
        "random": random_tasks(seed=seed),
        "all": all_tasks(),
    }


def target_of(examples: Examples, seed: int) -> Examples:
    """Some test classes of a set (of all classes where it has no split), a few rows labelled, as many others of each to measure on."""
    classes = np.flatnonzero(examples.class_split == SPLITS["test"])
    classes = classes if len(classes) else np.arange(len(examples.class_names))
    chosen = np.sort(key(seed, "classes").generator().permutation(classes)[:CLASSES])
    rows = [
        key(seed, "rows", int(c)).generator().permutation(np.flatnonzero(examples.labels == c))[: SHOTS + TESTED // len(chosen)]
        for c in chosen
    ]
    part = of_classes(examples.take(np.sort(np.concatenate(rows))), chosen)
    alone = replace(part, name=f"{examples.name} (target)", columns={part.target: part.column}, class_split=np.full(len(chosen), NO_SPLIT))
    return few_labelled(alone, SHOTS, seed)


def accuracy(target: Target, features: torch.Tensor) -> float:
    """Of a ridge regression fitted on the support, on the test rows."""
    labels = target.labels[target.support]
    state, parameters = fit_head(ANSWER, features, target.support, labels, len(target.class_names), None)
    with torch.inference_mode():
        logits = ANSWER.head.score(state, features[torch.from_numpy(target.test)][None], parameters)[0]
    return float((logits.argmax(-1).numpy() == target.labels[target.test]).mean())


def holding_once(held: dict[int, CutStore]) -> None:
    """From now on the states that training on a row space holds are kept in `held`, for the next training on it."""

    def holding(self: Ground, weights: Any, moving: Any, most_bytes: int = HELD_BYTES) -> Ground:
        made = WHOLE(self, weights, moving, most_bytes)
        return made if made.store is None else replace(made, store=held.setdefault(id(self.space), made.store))

    Ground.holding = holding  # type: ignore[method-assign]


def finetuned(ground: Ground, tasks: Tasks, ways: int, rate: float, seed: int) -> tuple[dict[str, torch.Tensor], int]:
    """(the backbone's weights after the run on these tasks, the rows that it looked at)."""
    batch = math.ceil(LEAST_ROWS / (EACH * ways))
    sampler = f"Sampled(ways={ways}, shots={EACH // 2}, queries={EACH // 2})"
    phase = f"Phase(sampler={sampler}, learner=Centroid(), plan=only({LAYER!r}, {rate}), steps={STEPS}, batch={batch}, optimizer=AdamW())"
    phases, _ = fit_phases(read_method(f"Method(learner=Centroid(), phases=({phase},))").phases, tasks)
    assert all(one.steps >= STEPS for one in phases_of(phases))
    done = train(ground, phases, tasks, key(seed, "finetuning"))
    return {name: tensor for name, tensor in done.weights.items() if name in ground.names}, done.visits


def features_of(ground: Ground, weights: dict[str, torch.Tensor], rows: Integers) -> torch.Tensor:
    """Some rows of the target by these weights [N, D]; zeros for the others."""
    found = torch.zeros(len(ground.space), ground.width)
    held = ground.holding(weights, moving_of(ground))
    with torch.no_grad():
        found[torch.from_numpy(rows)] = held.embed(weights, torch.from_numpy(rows)[None])[0]
    return found


def moving_of(ground: Ground) -> list[str]:
    return [name for title, names in ground.backbone.groups for name in names if title == LAYER.removeprefix("group:")]


def measured(name: str, sets: dict[str, Examples], backbone: Backbone, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One line of the file."""
    whole, began = sets[name], time.process_time()
    own = bool((whole.class_split == SPLITS["train"]).any())
    sources = [examples for other, examples in sets.items() if other != name or own]
    target = usable_target(target_of(whole, seed), backbone, cache=given.cache, skip_bad=True, quiet=True)
    known = np.concatenate([target.support, target.tested])
    job = Job(clock=Clock(math.inf), at=Workplace(cache=given.cache, quiet=True), skip_bad=True, seed=seed)
    rows = usable_rows(sources, target.examples, known, target.features, backbone, job)
    trained, ways = rows.tasks("train"), len(target.class_names)
    assert trained is not None
    candidates = candidate_tasks(trained, ways, CANDIDATES, key(seed, "candidates"))
    evidence = Evidence(
        features=lambda places: rows.features[torch.from_numpy(places)],
        target=target.features[torch.from_numpy(target.support)],
        target_label=torch.from_numpy(target.labels[target.support]),
    )
    held: dict[int, CutStore] = {}
    holding_once(held)
    source, own_rows = Ground(backbone, rows.space), Ground(backbone, RowSpace([target.examples]))
    asked = np.concatenate([target.support, target.test])
    found: dict[str, float] = {"frozen": accuracy(target, target.features)}
    taken: dict[str, list[int]] = {}
    chosen = choices(seed)
    for label in given.choices or chosen:
        tasks = chosen[label].select(candidates, evidence)
        weights, visits = finetuned(source, tasks, ways, given.rate, seed)
        found[label] = accuracy(target, features_of(own_rows, weights, asked))
        taken[label] = [len(tasks), len(rows.sources_of(tasks)), len(np.unique(tasks.slot_class[tasks.slots])), visits]
    return {
        "target": name,
        "seed": seed,
        "rate": given.rate,
        "classes": ways,
        "candidates": len(candidates),
        "leaks": len(rows.leaks),
        "accuracy": found,
        "tasks, sources, classes, visits": taken,
        "cpu_s": round(time.process_time() - began, 1),
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def whole_seeds(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of those seeds for which every target is done."""
    targets = {line["target"] for line in found}
    return [line for line in found if {other["target"] for other in found if other["seed"] == line["seed"]} == targets]


def holm(p: dict[str, float]) -> dict[str, float]:
    """p-values adjusted for being several, after Holm (1979)."""
    adjusted, worst = {}, 0.0
    for place, label in enumerate(sorted(p, key=lambda name: p[name])):
        worst = max(worst, min(1.0, (len(p) - place) * p[label]))
        adjusted[label] = worst
    return adjusted


def tables(path: Path) -> None:
    """Accuracy by target, and each choice minus the default over all runs."""
    found = whole_seeds(lines(path))
    labels = list(found[0]["accuracy"])
    seeds = sorted({line["seed"] for line in found})
    print(f"{len(found)} runs, seeds {seeds}, {sum(line['cpu_s'] for line in found) / 60:.0f} minutes of processor time\n")
    print("| target | " + " | ".join(labels) + " |\n|" + "---|" * (len(labels) + 1))
    targets = list(dict.fromkeys(line["target"] for line in found))

    def values(label: str, of: Callable[[dict[str, Any]], bool] = lambda _: True) -> np.ndarray[Any, np.dtype[np.float64]]:
        return 100 * np.array([line["accuracy"][label] for line in found if of(line)])

    for name in targets:
        print(
            f"| {name} | " + " | ".join(f"{values(label, lambda line, n=name: line['target'] == n).mean():.1f}" for label in labels) + " |"
        )  # type: ignore[misc]
    print("| all | " + " | ".join(f"{values(label).mean():.1f}" for label in labels) + " |\n")
    rivals = [label for label in labels if label not in ("frozen", BASE)]
    gaps = {label: values(label) - values(BASE) for label in ["frozen", *rivals]}
    p = {label: sign_flip_test(gaps[label]) for label in rivals}
    adjusted = holm(p)
    print(f"| minus {BASE} | mean | p | p, Holm | by targets | better, worse | tasks |\n|" + "---|" * 7)
    for label, gap in gaps.items():
        by_target = t_interval([gap[[line["target"] == name for line in found]].mean() for name in targets])
        counts = [line["tasks, sources, classes, visits"][label][0] for line in found] if label != "frozen" else [0]
        tests = f"{p[label]:.3f} | {adjusted[label]:.3f}" if label in p else " | "
        run = t_interval(gap)
        print(
            f"| {label} | {run.mean:+.2f} ± {run.half_width:.2f} | {tests} | {by_target.mean:+.2f} ± {by_target.half_width:.2f} | "
            f"{(gap > 0).sum()}, {(gap < 0).sum()} | {min(counts)}-{max(counts)}, median {np.median(counts):g} |"
        )
    counts = [line["tasks, sources, classes, visits"][BASE][0] for line in found]
    print(f"\n{BASE} took {min(counts)} to {max(counts)} tasks, median {np.median(counts):g}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, default=Path("choices.jsonl"))
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--choices", nargs="+", default=[], help="only these choices")
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    done = {(line["target"], line["seed"]) for line in lines(given.out)}
    todo = [(t, s) for s in given.seeds for t in given.targets if (t, s) not in done and not given.tables]
    if todo:
        torch.set_num_threads(1)
        sets = {name: read_examples(given.kit / f"text/{name}.jsonl") for name in SOURCES}
        backbone = load_backbone(f"hf:{given.kit / 'weights/all-minilm-l6-v2'},max_length=24", machine=Machine())
    for name, seed in todo:
        if sum(line["cpu_s"] for line in lines(given.out)) > 60 * given.minutes:
            break
        line = measured(name, sets, backbone, seed, given)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    tables(given.out)


if __name__ == "__main__":
    main()
