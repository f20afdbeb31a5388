"""A task with few labels, made from many: some rows of each class to learn from, the rest to measure on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fewtune.data.examples import TEST, TRAIN, Examples
from fewtune.errors import InputError
from fewtune.keys import key


def few_labelled(examples: Examples, shots: int, seed: int) -> Examples:
    """The same rows: `shots` random rows of each class in the train split, the others in the test split, unlabelled rows in none."""
    if shots < 1:
        raise InputError(f"expected at least 1 shot, found {shots}.")
    labels = examples.labels
    split = np.where(labels >= 0, TEST, -1)
    for label, name in enumerate(examples.class_names):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= shots:
            raise InputError(f"class {name!r} has {len(rows)} rows: expected more than the {shots} shots asked for.")
        split[key(seed, "few", label).generator().permutation(rows)[:shots]] = TRAIN
    return replace(examples, row_split=split)
