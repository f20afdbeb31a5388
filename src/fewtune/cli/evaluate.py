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
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    group: str | None = None,
    threshold: float | None = None,
    skip_unknown: Annotated[bool, Parameter(negative=())] = False,
    include_learned: Annotated[bool, Parameter(negative=())] = False,
    skip_bad: bool = False,
    report: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Measure a saved model on labelled data, and list what it answers wrongly.

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
        The input column of a table; of a model of two texts both columns, by default those it learned from.
    group: str
        The column of groups (domains, sites, alphabets) of a table, to count each apart.
    threshold: float
        Give no label below this probability, 0 to 1. By default the threshold that `adapt` was given.
    skip_unknown: bool
        Leave out examples of classes that the model does not have, instead of stopping.
    include_learned: bool
        Also count examples that the model learned from.
    skip_bad: bool
        Leave out examples that cannot be read, instead of stopping.
    report: Path
        Write a page (.html) that shows the photos or texts that were answered wrongly.
    overwrite: bool
        Replace the page --report if it exists.
    """
    from fewtune.cli.options import input_of
    from fewtune.models.its_place import check_found

    check_found(run, running.weights)  # before torch is loaded

    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.models.bundle import load_bundle
    from fewtune.models.evaluate import evaluate as measured
    from fewtune.models.evaluate import read_labelled
    from fewtune.models.predict import wanted_by
    from fewtune.models.record import is_joint
    from fewtune.report.answer_files import check_page
    from fewtune.report.evaluation import render_evaluation
    from fewtune.report.evaluation_page import write_evaluation_page

    if is_joint(run):
        from fewtune.cli.predict_columns import evaluate_columns

        refused = {"--label": label, "--group": group, "--threshold": threshold, "--report": report}
        how = {"include_learned": include_learned, "skip_unknown": skip_unknown, "skip_bad": skip_bad}
        evaluate_columns(run, data, format, running, input=input_of(input), refused=refused, **how)
        return
    if report is not None:
        check_page(report, [data], overwrite=overwrite)
    bundle = load_bundle(run)
    examples = read_labelled(data, label=label, input=input_of(input), group=group, wanted=wanted_by(bundle))
    made = measured(
        bundle,
        examples,
        threshold=threshold,
        skip_unknown=skip_unknown,
        include_learned=include_learned,
        skip_bad=skip_bad,
        running=running.value(),
    )
    if report is not None:
        write_evaluation_page(report, made, examples, overwrite=overwrite)
    answer(render_evaluation(made, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
    if report is not None:
        note(f"Wrote {report}.")
