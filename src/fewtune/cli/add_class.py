"""`fewtune add-class RUN NAME FILES_OR_FOLDER...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags, input_of


def add_class(
    run: Path,
    name: str,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path | None = None,
    column: str | None = None,
    more: Annotated[bool, Parameter(negative=())] = False,
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Add a class to a saved model from a few examples, without training.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved. The model in it is replaced, once the new one is whole, unless --out is given.
    name: str
        The name of the new class.
    inputs: Path
        Examples of the class: files, folders (with all their subfolders) and CSV, JSONL, Parquet or Excel tables.
    text: str
        An example, for text models. Repeat for more.
    out: Path
        Save the new model in this folder, and keep the model in RUN as it is.
    column: str
        The label column that the class is of, for a model of several label columns.
    more: bool
        Add the examples to a class that the model already has.
    input: str
        The input column of tables; of a model of two texts both columns, by default those it learned from.
    skip_bad: bool
        Leave out examples that cannot be read or that already belong to another class, instead of stopping.
    overwrite: bool
        Replace the model that fewtune saved in --out. Other files in that folder stay.
    """
    from fewtune.models.its_place import check_found

    check_found(run, running.weights)  # before torch is loaded

    from fewtune.cli.say import saved_in, tell
    from fewtune.data.reading.inputs import read_inputs
    from fewtune.errors import InputError
    from fewtune.files import new_folder, refuse_existing
    from fewtune.models.add_class import add_class as added
    from fewtune.models.add_class import put_back
    from fewtune.models.bundle import FILES, REPORT, load_bundle
    from fewtune.models.predict import wanted_by
    from fewtune.models.record import is_joint
    from fewtune.report.added import findings_of_added
    from fewtune.report.page import write_page

    if is_joint(run):
        from fewtune.cli.add_class_columns import add_to_column

        add_to_column(
            run, name, inputs or [], text or [], out, running, column=column, more=more, input=input_of(input), overwrite=overwrite
        )
        return
    if column is not None:
        raise InputError("--column is for models of several label columns, and this one has a single one: leave it out.")
    bundle = load_bundle(run)
    refuse_existing(out or run, overwrite=overwrite or out is None, writes=(*FILES, REPORT))
    if not inputs and not text:
        raise InputError(f"expected examples of class {name!r}, found none: fewtune add-class {run} NAME FILES_OR_FOLDER.")
    examples = read_inputs(inputs or [], text or [], wanted_by(bundle), input_of(input))
    backbone = running.value().load(bundle)
    made = added(bundle, name, examples, backbone=backbone, more=more, skip_bad=skip_bad, quiet=running.quiet)

    def report(path: Path) -> None:
        write_page(path, findings_of_added(made))

    if out is None:
        where, said = run, (*put_back(made.bundle, run, report), f"This replaced the model in {run}; --out NEW would have kept it.")
    else:
        with (folder := new_folder(out, overwrite=overwrite)) as inside:
            made.bundle.write(inside)
            report(inside / REPORT)
        where, said = folder.where, ()
    tell(*made.sentences, *said)
    tell("", f"{saved_in(where, out or run)}. Next: fewtune predict {where} NEW_FILES_OR_FOLDERS")
