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
        Files, folders (with everything below them) and CSV, JSONL or Parquet tables; answers come in this order.
    text: str
        A text to label, for text models; repeat for more.
    format: str
        table for people; json (a list of input, label, probability, scores) or csv, and nothing else on standard output.
    threshold: float
        Abstain (no label) below this probability; by default what `adapt` was told.
    input: str
        The input column of tables.
    skip_bad: bool
        Answer what can be read; unreadable inputs get no label.
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
