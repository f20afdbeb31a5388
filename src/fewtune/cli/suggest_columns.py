"""`fewtune suggest` for a model of several label columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fewtune.cli.options import RunFlags


def suggest_columns(
    run: Path,
    inputs: Sequence[Path],
    count: int,
    format: Literal["table", "json", "csv"],
    running: RunFlags,
    *,
    input: str | tuple[str, ...] | None,
    seed: int,
) -> None:
    """Say which rows to label next."""
    from fewtune.cli.say import answer, note, tell
    from fewtune.models.joint.bundle import load_joint
    from fewtune.models.joint.rows import given_rows
    from fewtune.models.joint.suggest import suggest_joint
    from fewtune.report.joint_answers import render_joint_suggestions

    bundle = load_joint(run)
    given = given_rows(bundle, inputs, [], input=input)
    made = suggest_joint(bundle, given, count, running=running.value(), seed=seed)
    answer(render_joint_suggestions(made, format, given))
    for sentence in made.sentences:
        tell(sentence) if format == "table" else note(sentence)
