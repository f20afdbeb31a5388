"""`fewtune export` of a model of several label columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.errors import InputError


def export_columns(run: Path, inputs: Sequence[Path], *, input: str | tuple[str, ...] | None, weights: Path | None, quiet: bool) -> None:
    """Write RUN/model.onnx, with an output for each column."""
    from fewtune.cli.export import WRITING
    from fewtune.cli.say import note, tell
    from fewtune.models.joint.bundle import load_joint
    from fewtune.models.joint.export import export_joint
    from fewtune.models.joint.rows import given_rows
    from fewtune.models.onnx_provider import need_onnx

    bundle = load_joint(run)
    need_onnx()
    if inputs and (bundle.numbers or bundle.backbone is None):
        raise InputError("a model that reads numbers is checked on made-up rows: leave the inputs out.")
    examples = given_rows(bundle, inputs, [], input=input).examples if inputs else None
    if not quiet:
        note(WRITING)
    tell(*export_joint(bundle, run / "model.onnx", weights=weights, examples=examples).sentences)
