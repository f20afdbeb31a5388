"""Rows for a model of several label columns: photos or texts, and the numbers beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features
from fewtune.backbones.providers.text_options import fields_of_name
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors, Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.columns import from_table, input_columns
from fewtune.data.reading.frames import table_of
from fewtune.data.reading.inputs import Given, GivenTable, read_given
from fewtune.data.reading.kinds import read_numbers
from fewtune.data.reading.read import TABLE_SUFFIXES, absent, has_columns
from fewtune.data.reading.table import Table
from fewtune.data.reading.table_files import read_table
from fewtune.errors import InputError
from fewtune.models.bundle import BackboneRecord
from fewtune.models.joint.model import JointBundle
from fewtune.words import option

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Backbones: TypeAlias = Mapping[int, Backbone]
DIGEST = 16  # bytes


def given_rows(
    bundle: JointBundle, paths: Sequence[Path], texts: Sequence[str], *, input: str | tuple[str, ...] | None = None, strict: bool = False
) -> Given:
    """What is to be labelled, in the order given. Raises InputError for inputs that this model cannot label: where it reads numbers, only
    tables that have these columns."""
    if bundle.numbers and (texts or any(path.suffix.lower() not in TABLE_SUFFIXES or path.is_dir() for path in paths)):
        raise InputError(
            f"this model reads the columns {', '.join(bundle.numbers)}: give tables (.csv, .jsonl, .parquet, .xlsx) with them."
        )
    if bundle.backbone is not None:
        usual = bundle.input if any(map(has_columns, paths)) else None
        return read_given(paths, texts, _wanted(bundle.backbone), input or usual, strict=strict)
    if not paths:
        raise InputError("expected a table to label.")
    if input:
        raise InputError(f"this model reads the columns {', '.join(bundle.numbers)} and no other: leave {option('--input')} out.")
    tables, start = [], 0
    for path in paths:
        if not path.exists():
            raise InputError(absent(path))
        tables.append(GivenTable(start, path, read_table(path)))
        start += tables[-1].table.count
    names = [str(one.path.parent / one.table.where(row)) for one in tables for row in range(one.table.count)]
    return Given(make_examples(Vectors(np.zeros((start, 0), dtype=np.float32)), row_names=names, name="inputs"), tuple(tables))


def given_frame(bundle: JointBundle, frame: Any) -> Given:
    """The rows of a data frame, to label. Raises InputError where it lacks a column that this model reads."""
    table = table_of(frame, "data")
    if bundle.backbone is None:
        examples = make_examples(Vectors(np.zeros((table.count, 0), dtype=np.float32)), name="data")
    else:
        wanted = _wanted(bundle.backbone)
        columns = input_columns(table, bundle.input, wanted)
        alone = replace(table, columns={name: table.columns[name] for name in columns})
        examples = from_table(alone, Asked(input=columns, labelled=False, wanted=wanted))
    return Given(examples, (GivenTable(0, Path("data"), table),))


def _wanted(backbone: BackboneRecord) -> Wanted:
    """What the backbone of a model reads."""
    return Wanted(backbone.modality, fields=fields_of_name(backbone.name))


def numbers_of(bundle: JointBundle, given: Given) -> Floats:
    """The numbers [N, M] of every row, NaN missing. A column that a table has but does not fill is missing in all its rows."""
    found = np.full((len(given.examples), len(bundle.numbers)), np.nan)
    for one in given.tables:
        found[one.start : one.start + one.table.count] = numbers_in(one.table, bundle.numbers)
    return found


def numbers_in(table: Table, names: Sequence[str]) -> Floats:
    """Columns of numbers of a table to label, [N, M]; a column without any number is missing in every row."""
    return read_numbers(table, names, empty=True)


def joint_features(
    bundle: JointBundle, backbones: Backbones, examples: Examples, numbers: Floats, *, skip_bad: bool = False, quiet: bool = True
) -> tuple[dict[int, Tensor], dict[int, str]]:
    """Features [N, D] of rows by each backbone, and the rows that cannot be read with the reasons; those are refused, or have features of
    NaN."""
    embedding, bad = dict.fromkeys(bundle.places, torch.zeros(len(examples), 0)), dict[int, str]()
    if bundle.backbone is not None:
        if examples.modality != bundle.backbone.modality:
            raise InputError(f"this model labels {bundle.backbone.modality}s, but {examples.name} holds {examples.modality}s.")
        for place, backbone in backbones.items():
            _, embedding[place], bad = readable_features(examples, backbone, memory=True, skip_bad=skip_bad, quiet=quiet)
        if (width := next(iter(embedding.values())).shape[1]) != bundle.backbone.width:
            raise InputError(
                f"this model labels embeddings of width {bundle.backbone.width}, but {examples.name} has width {width}: "
                f"name the right column with {option('--input NAME')}."
            )
    return {place: bundle.scaling(one, numbers) for place, one in embedding.items()}, bad


def row_digests(examples: Examples, numbers: Floats) -> list[bytes]:
    """A digest of each row's inputs: its photo or text, and its numbers."""
    return [
        hashlib.blake2b(content + np.ascontiguousarray(given).tobytes(), digest_size=DIGEST).digest()
        for content, given in zip(examples.row_digests, numbers, strict=True)
    ]
