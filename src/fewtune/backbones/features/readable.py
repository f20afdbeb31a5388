"""Features of the rows that can be read; the others are refused by name, or left out on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.audit import unreadable
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.words import counted

_SHOWN = 5


def readable_features(
    examples: Examples, backbone: Backbone, *, cache: Path | None = None, memory: bool = False, skip_bad: bool = False, quiet: bool = False
) -> tuple[RowSpace, Tensor, dict[int, str]]:
    """The space of one collection, its features [N, D], and the rows that cannot be read with the reason of each.

    `cache` is the folder of feature tables (by default the user's), `memory` keeps none. Headers are looked at first, so most bad files are
    named before any work. With `skip_bad`, bad rows stay in place (row numbers do not move) with no label and features of NaN; without,
    they are refused in one InputError that lists them.
    """
    if not len(examples):
        raise InputError(f"{examples.name} holds no rows: expected one at least.")
    bad = unreadable(examples, deep=False)
    refuse_unreadable(examples, bad, skip_bad)
    table = feature_table(backbone, RowSpace([examples]), folder=cache, memory=memory, quiet=quiet)
    refuse_unreadable(examples, table.bad, skip_bad)
    features = table.features
    if embedded := sorted(bad.keys() - table.bad.keys()):  # an empty text has features, too
        features = features.clone()
        features[embedded] = torch.nan
    bad = {**bad, **table.bad}
    return RowSpace([without_labels(examples, bad)]), features, bad


def without_labels(examples: Examples, rows: dict[int, str]) -> Examples:
    """The same collection with these rows unlabelled."""
    if not rows:
        return examples
    labels = examples.labels.copy()
    labels[list(rows)] = -1
    return replace(examples, columns={**examples.columns, examples.target: replace(examples.column, values=labels)})


def refuse_unreadable(examples: Examples, bad: dict[int, str], skip_bad: bool) -> None:
    """Raise InputError that lists rows which cannot be read, unless they are to be left out."""
    if bad and not skip_bad:
        listed = "; ".join(f"{examples.row_names[row]} ({reason})" for row, reason in sorted(bad.items())[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise InputError(f"{len(bad)} of {len(examples)} rows cannot be read: {listed}{more}. Mend or remove them, or pass --skip-bad.")


def remarks_on_length(examples: Examples, backbone: Backbone) -> tuple[str, ...]:
    """How many texts are longer than the encoder takes, in a sentence; nothing where none is. Asked after the rows were embedded, it costs
    next to nothing."""
    preparation = backbone.preparation
    if examples.modality != "text" or not isinstance(preparation, TextPreparation):
        return ()
    count = sum(preparation.cut([str(examples.items.fetch(row)) for row in range(len(examples))]))
    if not count:
        return ()
    verbs = "is longer than the encoder's {} tokens and is" if count == 1 else "are longer than the encoder's {} tokens and are"
    return (f"{count:,} of {counted(len(examples), 'text')} {verbs.format(f'{preparation.max_length:,}')} cut there.",)
