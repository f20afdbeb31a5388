"""A small table with label columns of every kind, all of which follow from two hidden numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fewtune.data.reading.label_table import LabelTable, Wanted, read_label_table

LABELS = ("price", "kind", "tags")
NUMBERS = ("size", "age")


def write_houses(path: Path, rows: int = 80, seed: int = 0, missing: float = 0.1, split: bool = False) -> Path:
    """size and age are inputs; price = 3 size - age (a number), kind = big or small by size, tags = old and cheap; some are missing."""
    random = np.random.default_rng(seed)
    size, age = random.normal(10, 3, rows), random.uniform(0, 5, rows)
    price = 3 * size - 2 * age + random.normal(0, 0.5, rows)
    gone = random.random((rows, 4)) < missing
    header = [*NUMBERS, *LABELS, *(["split"] if split else [])]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i in range(rows):
            tags = "|".join(name for name, holds in (("old", age[i] > 2.5), ("cheap", price[i] < 22)) if holds)
            part = ["test" if i % 4 == 0 else "train"] if split else []
            writer.writerow(
                [
                    f"{size[i]:.4f}",
                    "" if gone[i, 0] else f"{age[i]:.4f}",
                    "" if gone[i, 1] else f"{price[i]:.3f}",
                    "" if gone[i, 2] else "big" if size[i] > 10 else "small",
                    "" if gone[i, 3] or not tags else tags,
                    *part,
                ]
            )
    return path


def houses(folder: Path, **given: object) -> LabelTable:
    path = write_houses(folder / "houses.csv", **given)  # type: ignore[arg-type]
    return read_label_table(path, Wanted(labels=LABELS, numbers=NUMBERS))
