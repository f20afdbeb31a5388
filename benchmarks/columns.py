"""Should label columns be learned together? Networks of several kinds against a network for each column, on real tables.

    OMP_NUM_THREADS=1 python benchmarks/columns.py KIT --out columns.jsonl [--sets movies clinc omniglot tiny] [--seeds 0 1 2] [--rows 30]
        [--methods heads shared_bottom ...]

KIT is the folder of the benchmark kit. Sets: movies (title by all-MiniLM-L6-v2 and year, length, budget; ten label columns; its own test
split), clinc (CLINC150, a column for each domain), omniglot (a column for each alphabet, whose classes are its characters), tiny (Tiny
ImageNet as 20 columns of 10 classes, the analogue of Multi-Task CIFAR-100). In the last three a row has a label in one column alone, at
most --rows rows of a class are used, and a fifth of them is held out. Images: MobileNetV2, ImageNet weights, 96 px.

Written down before it was run: every network takes 500 steps of 32 rows of each column (the budget is matched in rows), training stops by
a seventh of the rows held back; the first method, `independent`, is what the others are compared with, in pairs on the same held-out rows
and seeds (95% bootstrap interval over rows and seeds), by accuracy, R2 or average precision. Reported: the mean over columns of each method
and how many columns are shown to gain and to lose. Each set is a line of the file when it is done, and is not done again. With --methods
others are compared, each with the first of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, Examples, Integers
from fewtune.data.reading.label_table import LabelTable, Wanted, read_label_table
from fewtune.data.reading.read import read_examples
from fewtune.joint.study import ColumnsComparison, ColumnsStudy, compare_columns, compared_methods

METHODS = (
    "independent",
    "heads",
    "shared_bottom",
    "mmoe(experts=4)",
    "cross_stitch()",
    "soft_sharing()",
    "shared_bottom(aggregator=PcGrad())",
    "shared_bottom(aggregator=Uncertainty())",
)
MOVIES = ("rating", "votes_log10", "mpaa", "action", "animation", "comedy", "drama", "documentary", "romance", "short")


def movies(kit: Path) -> LabelTable:
    wanted = Wanted(labels=MOVIES, numbers=("year", "length", "budget"), input="title")
    return read_label_table(kit / "tables" / "movies.csv", wanted)


def parted(examples: Examples, part: Integers, names: Sequence[str]) -> LabelTable:
    """A column for each part of the classes [K]: a row has a label in the column of its own class, and in no other."""
    columns = {}
    for number, name in enumerate(names):
        classes = np.flatnonzero(part == number)
        place = np.full(len(part) + 1, -1)
        place[classes] = np.arange(len(classes))
        columns[name] = Column("class", place[examples.labels], tuple(examples.class_names[c] for c in classes))
    first = next(iter(columns))
    none = np.full(len(columns[first].names), -1)
    bare = replace(examples, columns=columns, target=first, class_split=none, row_split=np.full(len(examples), -1))
    return LabelTable(bare, np.zeros((len(examples), 0)), ())


def by_group(examples: Examples, names: Sequence[str]) -> LabelTable:
    """A column for each group of the data; a class is of the group of its first row."""
    first = [int(np.flatnonzero(examples.labels == c)[0]) for c in range(len(examples.class_names))]
    return parted(examples, examples.group[first], names)


def some_rows(examples: Examples, most: int) -> Integers:
    """At most so many random rows of each class."""
    order = np.random.default_rng(0).permutation(len(examples))
    kept = [order[examples.labels[order] == c][:most] for c in range(len(examples.class_names))]
    return np.sort(np.concatenate(kept))


def table_of(name: str, kit: Path, rows: int) -> LabelTable:
    if name == "movies":
        return movies(kit)
    path = {"clinc": "text/clinc150.jsonl", "omniglot": "images/omniglot8.npz", "tiny": "images/tiny_imagenet.npz"}[name]
    whole = read_examples(kit / path)
    few = whole.take(some_rows(whole, rows))
    if name == "tiny":
        return parted(few, np.arange(len(few.class_names)) // 10, [f"classes {10 * n} to {10 * n + 9}" for n in range(20)])
    return by_group(few, few.group_names)


def backbone_of(name: str, kit: Path) -> Backbone:
    if name in ("movies", "clinc"):
        return load_backbone(f"hf:{kit / 'weights' / 'all-minilm-l6-v2'}")
    return load_backbone("timm:mobilenetv2_100,size=96", weights=kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors")


def record(name: str, found: ColumnsComparison, seconds: float) -> dict[str, object]:
    results = [
        {
            "method": one.method,
            "column": one.column,
            "metric": one.metric.name,
            "values": one.values,
            "gain": None if one.gain is None else [one.gain.mean, one.gain.low, one.gain.high],
            "p": one.p,
            "rows": one.rows,
        }
        for one in found.results
    ]
    facts = {"train": found.train, "test": found.test, "seeds": found.seeds, "visits": found.visits, "run_seconds": found.seconds}
    return {"set": name, **facts, "seconds": seconds, "results": results}


def table(one: dict) -> str:
    """One set: each method's mean over columns, its mean gain over the first, and how many columns gain and lose."""
    lines = [
        f"| method | mean over columns | gain over {next(iter(one['run_seconds']))} | columns up | columns down | seconds a run |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    columns = len({r["column"] for r in one["results"]})
    for method in one["run_seconds"]:
        mine = [r for r in one["results"] if r["method"] == method]
        mean = np.mean([np.mean(r["values"]) for r in mine])
        gains = [r["gain"] for r in mine if r["gain"] is not None]
        up, down = sum(g[1] > 0 for g in gains), sum(g[2] < 0 for g in gains)
        gain = f"{np.mean([g[0] for g in gains]):+.3f}" if gains else ""
        lines.append(
            f"| `{method}` | {mean:.3f} | {gain} | {up if gains else ''} | {down if gains else ''} | {one['run_seconds'][method]:.1f} |"
        )
    head = f"{one['set']}: {columns} columns, {one['train']:,} rows to learn from, {one['test']:,} held out, seeds {list(one['seeds'])}"
    return "\n".join([head, "", *lines, ""])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("kit", type=Path)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--sets", nargs="*", default=["movies", "clinc", "omniglot", "tiny"])
    asked.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    asked.add_argument("--rows", type=int, default=30)
    asked.add_argument("--methods", nargs="*", default=METHODS)
    asked.add_argument("--cache", type=Path, default=None)
    given = asked.parse_args()
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for name in given.sets:
        if name in {one["set"] for one in done}:
            continue
        began = time.process_time()
        study = ColumnsStudy(seeds=tuple(given.seeds), cache=given.cache, quiet=False)
        found = compare_columns(table_of(name, given.kit, given.rows), backbone_of(name, given.kit), compared_methods(given.methods), study)
        done.append(record(name, found, time.process_time() - began))
        with given.out.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    print("\n".join(map(table, done)))


if __name__ == "__main__":
    main()
