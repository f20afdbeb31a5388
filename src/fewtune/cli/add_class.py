"""`fewtune add-class RUN NAME FILES_OR_FOLDER...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags


def add_class(
    run: Path,
    name: str,
    inputs: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path | None = None,
    more: Annotated[bool, Parameter(negative=())] = False,
    input: str | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Teach a saved model one more class from a few examples, without training.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved; it is replaced, whole or not at all, unless --out is given.
    name: str
        The new class.
    inputs: Path
        Files, folders (with everything below them) and CSV, JSONL or Parquet tables of examples of it.
    text: str
        An example, for text models; repeat for more.
    out: Path
        The folder to save the larger model in, instead of RUN.
    more: bool
        The class exists: add the examples to it.
    input: str
        The input column of tables.
    skip_bad: bool
        Leave out what cannot be read, and examples of other classes, instead of refusing them.
    overwrite: bool
        Replace the model that fewtune saved in --out; whatever else is in that folder stays.
    """
    from fewtune.cli.say import saved_in, tell
    from fewtune.data.reading.inputs import read_inputs
    from fewtune.errors import InputError
    from fewtune.files import refuse_existing
    from fewtune.models.add_class import add_class as added
    from fewtune.models.add_class import put_back
    from fewtune.models.bundle import FILES, load_bundle
    from fewtune.models.predict import wanted_by

    bundle = load_bundle(run)
    refuse_existing(out or run, overwrite=overwrite or out is None, writes=FILES)
    if not inputs and not text:
        raise InputError(f"expected examples of class {name!r}, found none: fewtune add-class {run} NAME FILES_OR_FOLDER.")
    examples = read_inputs(inputs or [], text or [], wanted_by(bundle), input)
    backbone = running.value().load(bundle)
    made = added(bundle, name, examples, backbone=backbone, more=more, skip_bad=skip_bad, quiet=running.quiet)
    where, said = (run, put_back(made.bundle, run)) if out is None else (made.bundle.save(out, overwrite=overwrite), ())
    tell(*made.sentences, *said)
    tell("", f"{saved_in(where, out or run)}. Next: fewtune predict {where} NEW_FILES_OR_FOLDERS")
