"""`fewtune export RUN --format onnx`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import input_of
from fewtune.stopping import Stopped

WRITING = "writing the graph and checking it: up to a minute or two"


def export(
    run: Path,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    format: Literal["onnx"] = "onnx",
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    weights: Path | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a saved model for other programs (ONNX): RUN/model.onnx.

    The file contains normalisation, backbone, head and calibration. Its metadata holds the class names and how to prepare inputs. It is
    saved only if its answers equal those of the model. A model of several label columns has one output for each.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    inputs: Path
        Files, folders and tables on which the exported model is checked. By default it is checked on random inputs.
    format: str
        The kind of file: onnx.
    input: str
        The input column of tables; of a model of two texts both columns, by default those it learned from.
    weights: Path
        Where the weights of the backbone are now, if they were moved.
    quiet: bool
        Write no progress to standard error.
    """
    from fewtune.errors import InputError
    from fewtune.models.its_place import check_found

    if input and not inputs:
        raise InputError("--input is the column of tables on which the export is checked, and none is given: leave it out.")
    check_found(run, weights)  # before torch is loaded

    from fewtune.cli.say import note, tell
    from fewtune.data.reading.inputs import read_inputs
    from fewtune.models.bundle import load_bundle
    from fewtune.models.export import export_onnx
    from fewtune.models.onnx_provider import need_onnx
    from fewtune.models.predict import wanted_by
    from fewtune.models.record import is_joint

    assert format == "onnx"
    with _stopped_whole():
        if is_joint(run):
            from fewtune.cli.export_columns import export_columns

            export_columns(run, inputs or [], input=input_of(input), weights=weights, quiet=quiet)
            return
        bundle = load_bundle(run)
        need_onnx()
        examples = read_inputs(inputs, [], wanted_by(bundle), input_of(input)) if inputs else None
        if not quiet:
            note(WRITING)
        made = export_onnx(bundle, run / "model.onnx", weights=weights, examples=examples)
    tell(*made.sentences)


@contextlib.contextmanager
def _stopped_whole() -> Iterator[None]:
    """A block that keeps nothing on the way, so that a stop says so."""
    try:
        yield
    except Stopped:
        raise Stopped("stopped; no graph was written: the same command begins again.") from None
