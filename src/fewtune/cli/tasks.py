"""`fewtune tasks TABLE --label A --label B`: which label columns should be learned together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags
from fewtune.cli.text_flags import NO_TEXT_FLAGS, TextFlags


def tasks(
    data: Path,
    /,
    *,
    groups: int = 2,
    every: int = 10,
    affinity: Literal["look_ahead", "linearised"] = "look_ahead",
    wider: Annotated[bool, Parameter(negative=())] = False,
    widths: Annotated[list[int] | None, Parameter(negative=(), consume_multiple=True)] = None,
    out: Path | None = None,
    budget: str = "minutes=5",
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
    texts: TextFlags = NO_TEXT_FLAGS,
) -> None:
    """Say which label columns of a table should be learned together, which apart, and why.

    A network for each column and one for all answer held-out rows, so that you see for each column whether learning together helps. One
    more training run of all columns shows who helps whom: every few steps it is tried what one column's step does to the losses of the
    others. The columns are then put into the best groups, a network is trained for each of them, and advice is given in words.

    Parameters
    ----------
    data: Path
        A CSV, JSONL, Parquet or Excel table with two or more label columns (--label).
    groups: int
        How many networks you want to train at most.
    every: int
        Steps of the training run between two looks at who helps whom.
    affinity: str
        By what columns are put into groups: look_ahead (what one step of a column does to the others, TAG), or linearised (also retrain a
        linearised network on many sets of columns and judge it on other rows, Grad-TAG).
    wider: bool
        Also train a shared network that is four times as wide, to see whether the shared one is too small.
    widths: int
        Also train shared networks of these numbers of hidden units (the usual one has 64), such as --widths 16 256.
    out: Path
        The folder for report.html, the matrices (CSV) and the map of who helps whom (SVG, PNG). It must not exist yet, unless --overwrite
        is given.
    budget: str
        minutes=5: time for the networks on held-out rows; they are left out where it is not enough.
    folds: int
        Folds of the held-out rows, at least 2.
    seed: int
        The seed of all random choices.
    overwrite: bool
        Replace what fewtune wrote in --out. Other files in that folder stay.
    """
    model = replace(model, reading=texts)
    from fewtune.cli.first import check_data, load_libraries
    from fewtune.cli.source_flags import budget_of
    from fewtune.data.reading.columns_said import columns_in_words
    from fewtune.data.reading.label_table import read_label_table
    from fewtune.errors import InputError
    from fewtune.files import refuse_existing
    from fewtune.progress import stage

    minutes, visits = budget_of(budget)
    if visits:
        raise InputError("the budget of tasks is in minutes, as in minutes=5.")
    model.check()
    model.refuse_table()
    check_data(data)
    wanted = reading.columns(data)
    if wanted is None or len(wanted.labels) < 2:
        raise InputError("tasks compares label columns with each other: give two or more (--label rating --label genre).")
    with stage("reading the data"):
        table = read_label_table(data, wanted)
    model.check_table(table)
    load_libraries()

    from fewtune.cli.say import note, show, tell
    from fewtune.joint.relations import RelationSettings, relate_columns
    from fewtune.report.relations import WRITES, relations_tables, write_relations
    from fewtune.sides.job import Workplace

    if out is not None:
        refuse_existing(out, overwrite=overwrite, writes=WRITES)
    tell(*columns_in_words(table))
    settings = RelationSettings(
        groups=groups,
        every=every,
        affinity=affinity,
        wider=wider,
        widths=tuple(widths or ()),
        minutes=minutes,
        folds=folds,
        seed=seed,
        skip_bad=reading.skip_bad,
    )
    backbone = None if table.bare else model.load(table.examples)
    found = relate_columns(table, backbone, settings, Workplace(cache=model.cache, quiet=model.quiet, say=tell))
    tell("", *(one.sentence for one in found.advice), "")
    for one in relations_tables(found):
        show(one)
    tell(*found.outcome.details)
    if out is not None:
        note(f"The report and the matrices are in {write_relations(found, out, overwrite=overwrite)}.")
