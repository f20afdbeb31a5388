"""`fewtune compare TABLE --label A --label B`: methods that learn label columns, on held-out rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fewtune.cli.compare_flags import (
    NO_EPISODE_FLAGS,
    NO_KEEPING_FLAGS,
    NO_SHARING_FLAGS,
    EpisodeFlags,
    KeepingFlags,
    SharingFlags,
    unused,
)
from fewtune.cli.learning import NO_LEARNING_FLAGS, LearningFlags
from fewtune.cli.options import BackboneFlags, DataFlags

if TYPE_CHECKING:
    from fewtune.data.reading.label_table import Wanted

HEADS = "heads"  # the name of the method without a network


def refuse_episodes(
    asked: EpisodeFlags, learning: LearningFlags, keeping: KeepingFlags, sharing: SharingFlags, more: Mapping[str, object]
) -> None:
    """Raise InputError for a flag that only comparisons on few-shot episodes have. `more`: others, by their names."""
    from fewtune.errors import InputError

    used = ("--training-seeds", "--out", "--overwrite")
    groups = ((asked, NO_EPISODE_FLAGS), (learning, NO_LEARNING_FLAGS), (keeping, NO_KEEPING_FLAGS), (sharing, NO_SHARING_FLAGS))
    if given := unused(groups, more, used):
        raise InputError(f"{given[0]} is for comparisons on few-shot episodes; leave it out where label columns are compared.")


def compare_table(
    data: Path,
    wanted: Wanted,
    method: Sequence[str],
    learning: LearningFlags,
    format: Literal["table", "json", "csv", "latex", "markdown"],
    keeping: KeepingFlags,
    model: BackboneFlags,
    *,
    reading: DataFlags,
) -> None:
    """Compare on every label column, print the table, and keep it in --out."""
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.data.reading.label_table import read_label_table
    from fewtune.files import refuse_existing

    table = read_label_table(data, wanted)
    model.check_table(table)

    from fewtune.joint.judged import kinds_of, metrics_by_kind
    from fewtune.joint.study import ColumnsStudy, compare_columns, compared_methods
    from fewtune.report.columns_comparison import RESULTS, render_columns, write_columns

    if keeping.out is not None:
        refuse_existing(keeping.out, overwrite=keeping.overwrite, writes=RESULTS)
    methods = compared_methods(method)
    backbone = None if table.bare else model.load(table.examples)
    study = ColumnsStudy(
        seeds=tuple(learning.training_seeds),
        metrics=metrics_by_kind(reading.metric, kinds_of(table)),
        skip_bad=reading.skip_bad,
        cache=model.cache,
        quiet=model.quiet,
    )
    found = compare_columns(table, backbone, methods, study)
    answer(render_columns(found, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
    if keeping.out is not None:
        note(f"The results are in {write_columns(found, keeping.out, overwrite=keeping.overwrite)}.")
