"""`fewtune evaluate RUN DATA`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags


def evaluate(
    run: Path,
    data: Path,
    /,
    *,
    format: Literal["table", "json"] = "table",
    label: str | None = None,
    input: str | None = None,
    threshold: float | None = None,
    skip_unknown: Annotated[bool, Parameter(negative=())] = False,
    include_learned: Annotated[bool, Parameter(negative=())] = False,
    skip_bad: bool = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Measure a saved model on labelled data.

    Examples that the model learned from are recognised by their content and left out.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    data: Path
        A folder of class folders, a CSV, JSONL, Parquet or Excel table, or an .npz file. Classes are matched by name.
    format: str
        table is for people. json is for programs: standard output holds nothing else.
    label: str
        The label column of a table.
    input: str
        The input column of a table.
    threshold: float
        Give no label below this probability, 0 to 1. By default the threshold that `adapt` was given.
    skip_unknown: bool
        Leave out examples of classes that the model does not have, instead of stopping.
    include_learned: bool
        Also count examples that the model learned from.
    skip_bad: bool
        Leave out examples that cannot be read, instead of stopping.
    """
    from fewtune.cli.say import answer, terminal_width
    from fewtune.models.bundle import load_bundle
    from fewtune.models.evaluate import evaluate as measured
    from fewtune.models.evaluate import read_labelled
    from fewtune.report.evaluation import render_evaluation

    bundle = load_bundle(run)
    made = measured(
        bundle,
        read_labelled(data, label=label, input=input),
        threshold=threshold,
        skip_unknown=skip_unknown,
        include_learned=include_learned,
        skip_bad=skip_bad,
        running=running.value(),
    )
    answer(render_evaluation(made, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
