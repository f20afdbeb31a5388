"""Do sources help? The best frozen learner, finetuning on sources by several choices of tasks, standard finetuning on all of them, the
guard.

    OMP_NUM_THREADS=1 python benchmarks/sources.py KIT --out sources.jsonl [--targets pacs dtd10] [--shots 8] [--seeds 0 1 2 3 4]

KIT is the folder of the benchmark kit. Each (target, shots, seed) is a line of the file, written when it is done; what is there is not
done again. At the end, or alone with --tables, the tables: the mean over the seeds, and t intervals of the paired differences.

Every way of finetuning looks at the same number of rows, tries the same learning rates on held-out classes of the sources that its own
tasks come from, goes back towards the start as far as these advise, and has its learner chosen on the target's support. Test rows are
asked once. With --fewer only selected tasks and standard finetuning are compared, with --unguarded all of them but for the guard.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import NO_SPLIT, SPLITS, Examples, of_classes
from fewtune.data.few import few_labelled
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.target import Target, usable_target
from fewtune.machine import Machine
from fewtune.models.fitting import fit_head
from fewtune.recipes.default_learners import candidates
from fewtune.sides.clock import Clock
from fewtune.sides.compared import Compared
from fewtune.sides.guard import FOLDS
from fewtune.sides.held_out import held_out, outer_splits
from fewtune.sides.job import Job, Workplace
from fewtune.sides.route import FROZEN, Made, Route, side_of
from fewtune.sources.finetune import Done, Finetuner
from fewtune.sources.settings import SourceSettings
from fewtune.sources.stages import use_sources
from fewtune.statistics import t_interval
from fewtune.tasks.selection import Evidence, all_tasks, consistency_diversity, no_consistency, no_diversity, random_tasks

IMAGES = ("omniglot8", "caltech101", "pacs", "dtd10", "clothing10", "cifar10", "tiny_imagenet")
TEXTS = ("hwu64", "clinc150", "news20", "agnews4", "trec6", "tweet_emotion4", "subj")
PAIRS = (
    ("guarded", "frozen"),
    ("guarded", "standard"),
    ("selected", "frozen"),
    ("selected", "standard"),
    *(("selected", other) for other in ("all", "random", "no diversity", "no consistency", "selected, the other mode")),
)


def target_of(examples: Examples, shots: int, seed: int, most: int) -> Examples:
    """Some test classes of a set (all classes where it has no split), `shots` rows of each labelled, the others to measure on."""
    classes = np.flatnonzero(examples.class_split == SPLITS["test"])
    classes = classes if len(classes) else np.arange(len(examples.class_names))
    chosen = np.sort(key(seed, "classes").generator().permutation(classes)[:most])
    part = of_classes(examples, chosen)
    alone = replace(part, name=f"{examples.name} (target)", columns={part.target: part.column}, class_split=np.full(len(chosen), NO_SPLIT))
    return few_labelled(alone, shots, seed)


def accuracy(side: Side, target: Target, seed: int, methods: dict[str, Any]) -> tuple[float, str]:
    """Test accuracy of the learner that is chosen on the support, and its name."""
    labels, names = target.labels[target.support], target.class_names
    choice = side.choose(methods, target.support, labels, names, seed)
    vectors = side.vectors(choice.method, names)
    state, parameters = fit_head(choice.method, side.features, target.support, labels, len(names), vectors)
    with torch.inference_mode():
        logits = choice.method.head.score(state, side.features[torch.from_numpy(target.test)][None], parameters)[0]
    return float((logits.argmax(-1).numpy() == target.labels[target.test]).mean()), choice.name


def compared_sides(route: Route, target: Target, frozen: Side, methods: dict[str, Any], seed: int) -> Compared:
    """The frozen side and the one that was finetuned on the sources, on one pass of the folds."""
    splits = outer_splits(target, seed, FOLDS, 1)
    routes = (Route(FROZEN, "as it came", lambda _: Made(frozen, None)), route)
    return Compared({one.name: held_out(one, target, methods, splits, seed) for one in routes})


def measured(name: str, sets: dict[str, Examples], backbone: Backbone, shots: int, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One line of the file."""
    whole = sets[name]
    own = (whole.class_split == SPLITS["train"]).any()
    sources = [examples for other, examples in sets.items() if other != name or own]
    target = usable_target(target_of(whole, shots, seed, given.classes), backbone, cache=given.cache, skip_bad=True, quiet=False)
    methods = candidates(label_side=backbone.label_side, modality=backbone.preparation.modality, rows=len(target.support))
    frozen = Side(backbone, target.features)
    found: dict[str, Any] = {"frozen": accuracy(frozen, target, seed, methods)}
    how = SourceSettings(visits=given.visits, rates=tuple(given.rates), selection=consistency_diversity(mode=given.mode))
    got = use_sources(
        target, frozen, methods, sources, how,
        Job(clock=Clock(float("inf")), at=Workplace(cache=given.cache), skip_bad=True, seed=seed), judge=not given.unguarded,
    )  # fmt: skip
    rows, inputs = np.concatenate([target.support, target.test]), RowSpace([target.examples], remember=1 << 30)
    evidence = Evidence(
        features=lambda places: got.source_rows.features[torch.from_numpy(places)],
        target=target.features[torch.from_numpy(target.support)],
        target_label=torch.from_numpy(target.labels[target.support]),
    )
    taken = len(got.trace.taken)
    choices = {
        "selected": how.selection,
        "selected, the other mode": consistency_diversity(mode="skip" if given.mode == "stop" else "stop"),
        "no consistency": no_consistency(mode=given.mode, seed=seed),
        "no diversity": no_diversity(most=max(taken, 1)),
        "random": random_tasks(most=max(taken, 1), seed=seed),
        "all": all_tasks(),
    }
    if given.fewer:
        choices = {"selected": how.selection}
    runs: list[tuple[str, Finetuner, Any]] = [(label, got.tuner, one.select(got.candidates, evidence)) for label, one in choices.items()]
    standard = with_recipe(got.tuner, "standard")
    runs.append(("standard", standard, got.source_rows.tasks("train")))
    tuned = {}
    for label, tuner, tasks in runs:
        run = tuner.tuned(tasks)
        side = side_of(tuner.embedder(run), inputs, rows)
        found[label] = accuracy(side, target, seed, methods)
        tuned[label] = {
            "rate": run.advice.rate,
            "part": run.advice.part,
            "share": run.advice.share,
            "tasks": len(tasks),
            "visits": run.visits,
            "seconds": round(run.seconds, 1),
        }
    kept, judged = got.kept, got.guard
    if got.route is not None:  # the target's own labels judge
        compared = compared_sides(got.route, target, frozen, methods, seed)
        kept, judged = compared.kept != FROZEN, compared.guard(got.route.name)
    if not given.unguarded:
        found["guarded"] = found["selected"] if kept else found["frozen"]
    guard = None if judged is None else {"gain": judged.gain.mean, "low": judged.gain.low, "where": judged.where}
    return {
        "target": name,
        "shots": shots,
        "seed": seed,
        "classes": len(target.class_names),
        "visits": given.visits,
        "mode": given.mode,
        "leaks": len(got.source_rows.leaks),
        "kept": kept,
        "guard": guard,
        "accuracy": {label: value for label, (value, _) in found.items()},
        "learner": {label: learner for label, (_, learner) in found.items()},
        "tuned": tuned,
    }


def with_recipe(tuner: Finetuner, recipe: str) -> Finetuner:
    """The same finetuner with another recipe, and nothing remembered."""
    return replace(tuner, recipe=recipe, done=Done())


def lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def tables(path: Path) -> None:
    """Means over seeds, and paired differences with t intervals: over the seeds of a target, and over all runs of so many shots."""
    found = list(lines(path))
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in found:
        groups[line["target"], line["shots"]].append(line)
    for line in found:  # after the targets, so that the tables end with it
        groups["all runs", line["shots"]].append(line)
    labels = max((list(line["accuracy"]) for line in found), key=len)
    pairs = [(a, b) for a, b in PAIRS if a in labels and b in labels]
    print("| target | shots | runs | " + " | ".join(labels) + " | kept | " + " | ".join(f"{a} - {b}" for a, b in pairs) + " |")
    print("|" + "---|" * (len(labels) + len(pairs) + 4))
    for (name, shots), mine in groups.items():
        values = {label: 100 * np.array([line["accuracy"].get(label, np.nan) for line in mine]) for label in labels}
        means = " | ".join("" if np.isnan(v.mean()) else f"{v.mean():.1f}" for v in values.values())
        gaps = " | ".join(_gap(values[a] - values[b]) for a, b in pairs)
        print(f"| {name} | {shots} | {len(mine)} | {means} | {sum(line['kept'] for line in mine)} | {gaps} |")


def _gap(differences: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    if np.isnan(differences.mean()):
        return ""
    interval = t_interval(differences)
    return f"{interval.mean:+.1f} ± {interval.half_width:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sources.jsonl"))
    parser.add_argument("--targets", nargs="+", default=["omniglot8", "pacs", "dtd10", "clothing10", "hwu64"])
    parser.add_argument("--shots", type=int, nargs="+", default=[8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--visits", type=int, default=4000)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 1e-3, 1e-2])
    parser.add_argument("--fewer", action="store_true", help="compare no other choices of tasks")
    parser.add_argument("--unguarded", action="store_true", help="do not ask the guard, which trains four times more")
    parser.add_argument("--classes", type=int, default=10, help="most classes of a target")
    parser.add_argument("--mode", choices=["stop", "skip"], default="skip")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--tokens", type=int, default=32, help="a text is cut to")
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = {(line["target"], line["shots"], line["seed"]) for line in lines(given.out)}
    todo = [(t, n, s) for s in given.seeds for n in given.shots for t in given.targets if (t, n, s) not in done and not given.tables]
    loaded: dict[str, tuple[dict[str, Examples], Backbone]] = {}
    for name, shots, seed in todo:
        kind = "images" if name in IMAGES else "texts"
        if kind not in loaded:
            loaded[kind] = load(kind, given)
        sets, backbone = loaded[kind]
        line = measured(name, sets, backbone, shots, seed, given)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    tables(given.out)


def load(kind: str, given: argparse.Namespace) -> tuple[dict[str, Examples], Backbone]:
    """The sets of a modality, and the backbone for it."""
    if kind == "images":
        sets = {name: read_examples(given.kit / f"images/{name}.npz") for name in IMAGES}
        weights = given.kit / "weights/mobilenetv2_100.imagenet1k.safetensors"
        text = f"timm:mobilenetv2_100,pad_type=same,size={given.size}"
        return sets, load_backbone(text, weights=weights, machine=Machine())
    sets = {name: read_examples(given.kit / f"text/{name}.jsonl") for name in TEXTS}
    return sets, load_backbone(f"hf:{given.kit / 'weights/all-minilm-l6-v2'},max_length={given.tokens}", machine=Machine())


if __name__ == "__main__":
    main()
