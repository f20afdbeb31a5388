"""`fewtune predict RUN new.jpg more/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags


def predict(
    run: Path,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(negative=())] = None,
    format: Literal["table", "json", "csv"] = "table",
    threshold: float | None = None,
    input: str | None = None,
    skip_bad: bool = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Label new files with a saved model.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    inputs: Path
        Files, folders (with all their subfolders) and CSV, JSONL, Parquet or Excel tables. Answers come in this order.
    text: str
        A text to label, for text models. Repeat for more.
    format: str
        table is for people. json (a list with input, label, probability and scores) and csv are for programs: standard output holds
        nothing else.
    threshold: float
        Give no label below this probability, 0 to 1. By default the threshold that `adapt` was given.
    input: str
        The input column of tables.
    skip_bad: bool
        Go on if some inputs cannot be read; they get no label.
    """
    from fewtune.cli.say import answer, note
    from fewtune.data.reading.inputs import read_inputs
    from fewtune.models.bundle import load_bundle
    from fewtune.models.predict import predict_examples, wanted_by
    from fewtune.report.predictions import render_predictions

    bundle = load_bundle(run)
    examples = read_inputs(inputs or [], text or [], wanted_by(bundle), input)
    predictions = predict_examples(bundle, examples, threshold=threshold, skip_bad=skip_bad, running=running.value(), tell=note)
    answer(render_predictions(predictions, bundle.class_names, format))
