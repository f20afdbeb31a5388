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
    """Say how a saved model does on labelled data.

    Rows that the model was learned from are found by their content and left out.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    data: Path
        A folder of class folders, a CSV, JSONL or Parquet table, or an .npz file; classes are matched by name.
    format: str
        table for people; json, and nothing else on standard output.
    label: str
        The label column of a table.
    input: str
        The input column of a table.
    threshold: float
        Abstain below this probability; by default what `adapt` was told.
    skip_unknown: bool
        Leave out rows of classes that the model does not know instead of refusing the data.
    include_learned: bool
        Count rows that the model was learned from, too.
    skip_bad: bool
        Leave out rows that cannot be read.
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
