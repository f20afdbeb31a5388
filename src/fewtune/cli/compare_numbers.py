"""`fewtune compare sinusoid`: methods on few-shot tasks of numbers, by RMSE."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

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
from fewtune.cli.options import NO_DATA_FLAGS, BackboneFlags, DataFlags

FAMILIES = ("sinusoid", "latent")
USUAL = ("ridge", "maml(shots=10, queries=10, ways=2, inner_steps=1, inner_lr=0.01, batch=25, lr=0.01)")
_USED = ("--shots", "--queries", "--episodes", "--training-seeds")


def family_in(data: Path) -> str | None:
    """The family of tasks that the data names; None for anything else, and where a file or folder has that name."""
    return str(data) if str(data) in FAMILIES and not os.path.lexists(data) else None


def compare_family(
    name: str,
    method: Sequence[str],
    asked: EpisodeFlags,
    learning: LearningFlags,
    format: Literal["table", "json", "csv", "latex", "markdown"],
    model: BackboneFlags,
    *,
    others: tuple[KeepingFlags, SharingFlags, DataFlags],
    more: Mapping[str, object],
) -> None:
    """Compare and print the table. Raises InputError for flags that are for classes or for runs that are kept."""
    from fewtune.errors import InputError

    keeping, sharing, reading = others
    groups = (
        (asked, NO_EPISODE_FLAGS),
        (learning, NO_LEARNING_FLAGS),
        (keeping, NO_KEEPING_FLAGS),
        (sharing, NO_SHARING_FLAGS),
        (reading, NO_DATA_FLAGS),
    )
    given = unused(groups, more, _USED)
    if given or not isinstance(asked.episodes, int):
        raise InputError(f"{given[0] if given else '--episodes FILE'} is for data with classes; leave it out for {name}.")
    if len(model.backbones) > 1:
        raise InputError(f"{name} is compared through one backbone, found {len(model.backbones)}.")

    from fewtune.cli.first import load_libraries

    load_libraries()

    from fewtune.backbones.load import load_backbone
    from fewtune.cli.say import answer, terminal_width
    from fewtune.machine import Machine
    from fewtune.report.regression import regression_table
    from fewtune.report.tables import render
    from fewtune.studies.families import family
    from fewtune.studies.regression import compare_regression

    tasks = family(name)
    backbone = load_backbone(model.backbone or tasks.backbone, machine=Machine(device=model.device, chunk=4096))
    found = compare_regression(
        tasks.target,
        method or USUAL,
        backbone,
        source=tasks.source,
        shots=asked.shots,
        queries=asked.queries,
        episodes=asked.episodes,
        seeds=tuple(learning.training_seeds),
    )
    table = regression_table(found, f"{name}, {asked.queries} queries, {backbone.name}")
    answer(render(table, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
