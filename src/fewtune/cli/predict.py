"""`fewtune predict RUN new.jpg more/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.answer_flags import NO_ANSWER_FLAGS, AnswerFlags
from fewtune.cli.options import NO_RUN_FLAGS, RunFlags, input_of


def predict(
    run: Path,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(negative=())] = None,
    format: Literal["table", "json", "csv"] = "table",
    threshold: float | None = None,
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    unknown: Annotated[bool, Parameter(negative=())] = False,
    sets: float | None = None,
    explain: int = 0,
    strict: Annotated[bool, Parameter(negative=())] = False,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    watch: Path | None = None,
    answers: AnswerFlags = NO_ANSWER_FLAGS,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Label new files with a saved model.

    What cannot be read gets no label and is listed; with --strict nothing is labelled then.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    inputs: Path
        Files, folders (with all their subfolders) and CSV, JSONL, Parquet or Excel tables. Answers come in this order.
    text: str
        A text to label, for text models. Repeat for more.
    format: str
        table is for people; with --out, --sort-into or --annotate it only counts the labels. json (a list with input, label, probability
        and scores) and csv are for programs: standard output holds nothing else.
    threshold: float
        Give no label below this probability, 0 to 1. By default the threshold that `adapt` was given or has found.
    input: str
        The input column of tables; of a model of two texts both columns, by default those it learned from.
    unknown: bool
        Give no label to what is like no labelled example. Of new inputs like your labelled ones, at most 5% are rejected too.
    sets: float
        Name all classes that are likely enough: in this share of cases, such as 0.9, the right one is among them.
    explain: int
        Name this many of the labelled examples that are most like each input.
    strict: bool
        Stop with exit code 2 if anything cannot be read, instead of labelling the rest.
    skip_bad: bool
        Leave out what cannot be read and list it, as `adapt` and `evaluate` do with this flag; here it is the default.
    watch: Path
        Label the files in this folder, and new ones as they arrive, until Ctrl-C. Answers are added to --out (.csv or .jsonl).
    """
    from fewtune.cli.bad_items import listed_bad, refuse_bad
    from fewtune.cli.say import answer, note
    from fewtune.cli.watching import check_watch, watch_folder
    from fewtune.data.reading.inputs import read_given
    from fewtune.data.unreadable import unreadable
    from fewtune.errors import InputError
    from fewtune.models.its_place import check_found
    from fewtune.models.record import checked_threshold, glance, is_joint

    if strict and skip_bad:
        raise InputError("--strict stops at what cannot be read and --skip-bad leaves it out: give one of them.")
    if is_joint(run):
        from fewtune.cli.predict_columns import predict_columns

        refused = {"--threshold": threshold, "--unknown": unknown, "--sets": sets, "--explain": explain, "--watch": watch}
        predict_columns(run, inputs or [], text or [], format, answers, running, input=input_of(input), strict=strict, refused=refused)
        return
    if threshold is not None:
        checked_threshold(threshold)
    seen = glance(run)
    check_found(run, running.weights)
    if watch is not None:
        others = {"inputs": inputs, "--text": text, "--strict": strict, "--format": format != "table", "--input": input}
        check_watch(watch, seen.wanted, answers.out, {**others, "--sets": sets, "--explain": explain, **answers.beside_out()})
        watch_folder(run, watch, answers.out, threshold=threshold, unknown=unknown, running=running.value())
        return
    answers.check(inputs or [], seen)
    given = read_given(inputs or [], text or [], seen.wanted, input_of(input), strict=strict)
    refuse_bad(given.examples, unreadable(given.examples), strict)  # by their headers, before torch is loaded

    from fewtune.models.bundle import load_bundle
    from fewtune.models.extras import Extras
    from fewtune.models.predict import predict_examples
    from fewtune.report.predictions import render_predictions, summary

    bundle = load_bundle(run)
    found = predict_examples(
        bundle, given.examples, threshold=threshold, skip_bad=True, running=running.value(), tell=note,
        extras=Extras(unknown=unknown, sets=sets, explain=explain),
    )  # fmt: skip
    problems = {row: p.problem for row, p in enumerate(found) if not p.scores}
    refuse_bad(given.examples, problems, strict)
    said = answers.write(given, found, bundle.class_names)
    elsewhere = format == "table" and (answers.out or answers.sort_into or answers.annotate) is not None
    answer(summary(found) if elsewhere else render_predictions(found, bundle.class_names, format, given))
    for sentence in (*listed_bad(given.examples, problems), *said):
        note(sentence)
