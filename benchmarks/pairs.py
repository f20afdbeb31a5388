"""Pairs of texts with one question, "do these two ask for the same?", of HWU64: the kit has no set of pairs, so this one is made.

    python benchmarks/pairs.py KIT OUT [--train 400] [--test 600]

OUT/train.jsonl is of HWU64's train classes, OUT/test.jsonl of its test classes: no intent and no scenario is in both.
Half of the pairs are two texts of one intent, a quarter two intents of one scenario, a quarter two scenarios. No text is in two pairs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples

KINDS = ("same", "scenario", "same", "other")  # in turn


def pairs(examples: Examples, part: int, count: int, rng: np.random.Generator) -> list[tuple[int, int, str]]:
    """So many pairs of rows whose classes are in this part of the class split, with their kinds."""
    left = rng.permutation(np.flatnonzero(examples.class_split[examples.labels] == part))
    found: list[tuple[int, int, str]] = []
    while len(found) < count:
        kind, first, left = KINDS[len(found) % len(KINDS)], left[0], left[1:]
        same, near = examples.labels[left] == examples.labels[first], examples.group[left] == examples.group[first]
        places = np.flatnonzero({"same": same, "scenario": ~same & near, "other": ~near}[kind])
        if len(places):  # else this text is left out
            found.append((first, left[places[0]], kind))
            left = np.delete(left, places[0])
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("kit", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--train", type=int, default=400)
    asked.add_argument("--test", type=int, default=600)
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    examples, rng = read_examples(given.kit / "text" / "hwu64.jsonl"), np.random.default_rng(0)
    for name, part, count in (("train", 0, given.train), ("test", 2, given.test)):
        lines = []
        for first, second, kind in pairs(examples, part, count, rng):
            texts = {"first": str(examples.items.fetch(first)), "second": str(examples.items.fetch(second))}
            lines.append(json.dumps({**texts, "label": "yes" if kind == "same" else "no"}))
        (given.out / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
