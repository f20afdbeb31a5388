"""`fewtune predict` and `fewtune evaluate` of a model of several label columns."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from fewtune.cli.answer_flags import AnswerFlags
from fewtune.cli.options import RunFlags
from fewtune.errors import InputError


def refuse_given(flags: Mapping[str, object]) -> None:
    """Raise InputError for a flag that a model of several label columns does not have."""
    for flag, value in flags.items():
        if value not in (None, False, 0):
            raise InputError(f"{flag} is for models of one column of classes, and this one answers label columns: leave it out.")


def predict_columns(
    run: Path,
    inputs: Sequence[Path],
    texts: Sequence[str],
    format: Literal["table", "json", "csv"],
    answers: AnswerFlags,
    running: RunFlags,
    *,
    input: str | tuple[str, ...] | None,
    strict: bool,
    refused: Mapping[str, object],
) -> None:
    """Answer every label column for new rows."""
    from fewtune.cli.bad_items import listed_bad, refuse_bad
    from fewtune.cli.say import answer, note
    from fewtune.data.unreadable import unreadable
    from fewtune.models.its_place import check_found
    from fewtune.report.answer_files import AnswerFile
    from fewtune.words import counted

    others = answers.beside_out()
    refuse_given({**refused, **{flag: others[flag] for flag in others if flag != "--overwrite"}})
    file = None if answers.out is None else AnswerFile(answers.out, answers.overwrite)
    if file is not None:
        file.check(inputs)
    check_found(run, running.weights)

    from fewtune.models.joint.bundle import load_joint
    from fewtune.models.joint.predict import predict_joint
    from fewtune.models.joint.rows import given_rows
    from fewtune.report.joint_answers import joint_answer_table, render_joint_answers

    bundle = load_joint(run)
    given = given_rows(bundle, inputs, texts, input=input, strict=strict)
    refuse_bad(given.examples, unreadable(given.examples), strict)
    found = predict_joint(bundle, given, skip_bad=True, running=running.value())
    refuse_bad(given.examples, found.problems, strict)
    said: list[str] = []
    if file is not None:
        table = joint_answer_table(given, found)
        file.write(table)
        said = [*table.remarks, f"Wrote {counted(len(found), 'row')} to {file.path}."]
    else:
        answer(render_joint_answers(found, format, given))
    for sentence in (*listed_bad(given.examples, found.problems), *said):
        note(sentence)


def evaluate_columns(
    run: Path,
    data: Path,
    format: Literal["table", "json"],
    running: RunFlags,
    *,
    input: str | tuple[str, ...] | None,
    refused: Mapping[str, object],
    include_learned: bool,
    skip_unknown: bool,
    skip_bad: bool,
) -> None:
    """Measure every label column that the table holds."""
    from fewtune.cli.say import answer, terminal_width

    refuse_given(refused)

    from fewtune.models.joint.bundle import load_joint
    from fewtune.models.joint.evaluate import evaluate_joint
    from fewtune.report.joint_tables import render_joint_evaluation

    made = evaluate_joint(
        load_joint(run),
        data,
        input=input,
        include_learned=include_learned,
        skip_unknown=skip_unknown,
        skip_bad=skip_bad,
        running=running.value(),
    )
    answer(render_joint_evaluation(made, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
