"""`fewtune suggest RUN UNLABELLED`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags, input_of


def suggest(
    run: Path,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    count: int = 20,
    format: Literal["table", "json", "csv"] = "table",
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    seed: int = 0,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Say which new examples to label next: those that the model is least sure of, and that differ from one another.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    inputs: Path
        Unlabelled files, folders (with all their subfolders) and tables.
    count: int
        How many examples to suggest.
    format: str
        table is for people. json and csv are for programs: standard output holds nothing else.
    input: str
        The input column of tables; of a model of two texts both columns, by default those it learned from.
    seed: int
        The seed of random choices.
    """
    from fewtune.cli.say import answer, note, tell
    from fewtune.data.reading.inputs import read_given
    from fewtune.errors import InputError
    from fewtune.models.its_place import check_found
    from fewtune.models.record import glance, is_joint

    if count < 1:
        raise InputError(f"expected --count of 1 or more, found {count}.")
    check_found(run, running.weights)
    if is_joint(run):
        from fewtune.cli.suggest_columns import suggest_columns

        suggest_columns(run, inputs or [], count, format, running, input=input_of(input), seed=seed)
        return
    given = read_given(inputs or [], [], glance(run).wanted, input_of(input))

    from fewtune.models.bundle import load_bundle
    from fewtune.models.suggest import suggest as suggested
    from fewtune.report.suggestions import render_suggestions

    made = suggested(load_bundle(run), given.examples, count, running=running.value(), seed=seed)
    answer(render_suggestions(made, given.examples, format), styled=format == "table")
    for sentence in made.sentences:
        tell(sentence) if format == "table" else note(sentence)
