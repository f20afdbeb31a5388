"""Features of the rows that can be read; the others raise an error with their names, or are left out on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.data.unreadable import refuse_unreadable as refuse
from fewtune.data.unreadable import short_reason, unreadable
from fewtune.errors import InputError
from fewtune.words import counted, option


def readable_features(
    examples: Examples, backbone: Backbone, *, cache: Path | None = None, memory: bool = False, skip_bad: bool = False, quiet: bool = False
) -> tuple[RowSpace, Tensor, dict[int, str]]:
    """The row space of one collection, its features [N, D], and the rows that cannot be read, each with its reason.

    `cache`: the folder of feature tables (by default the user's). `memory`: keep no tables on disk. Headers are read first, so most bad
    files are reported before any work. With `skip_bad`, bad rows stay (row numbers do not change) without a label and with features of NaN.
    Without, one InputError lists them.
    """
    if not len(examples):
        raise InputError(f"{examples.name} holds no rows: expected at least one.")
    bad = unreadable(examples, deep=False)
    refuse_unreadable(examples, bad, skip_bad)
    table = feature_table(backbone, RowSpace([examples]), folder=cache, memory=memory, quiet=quiet)
    refuse_unreadable(examples, table.bad, skip_bad)
    features = table.features
    if embedded := sorted(bad.keys() - table.bad.keys()):  # an empty text also has features
        features = features.clone()
        features[embedded] = torch.nan
    bad = {**{row: short_reason(said) for row, said in table.bad.items()}, **bad}
    return RowSpace([without_labels(examples, bad)]), features, bad


def without_labels(examples: Examples, rows: dict[int, str]) -> Examples:
    """The same collection, without the labels of these rows in any column."""
    if not rows:
        return examples
    blank = {}
    for name, column in examples.columns.items():
        values = column.values.copy()
        values[list(rows)] = np.nan if column.kind == "float" else -1
        blank[name] = replace(column, values=values)
    return replace(examples, columns=blank)


def refuse_unreadable(examples: Examples, bad: dict[int, str], skip_bad: bool) -> None:
    """Raise InputError with the rows that cannot be read, unless `skip_bad`."""
    if not skip_bad:
        refuse(examples, bad, f"Repair or remove them, or pass {option('--skip-bad')}.")


def remarks_on_length(examples: Examples, backbone: Backbone) -> tuple[str, ...]:
    """A sentence on how many texts are longer than the encoder's limit; empty if none is. Fast if the rows are already embedded."""
    preparation = backbone.preparation
    if examples.modality != "text" or not isinstance(preparation, TextPreparation):
        return ()
    count = sum(preparation.cut([str(examples.items.fetch(row)) for row in range(len(examples))]))
    if not count:
        return ()
    verbs = "is longer than the encoder's {} tokens and is" if count == 1 else "are longer than the encoder's {} tokens and are"
    return (f"{count:,} of {counted(len(examples), 'text')} {verbs.format(f'{preparation.max_length:,}')} cut there.",)
