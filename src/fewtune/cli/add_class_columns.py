"""`fewtune add-class` for a model of several label columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fewtune.cli.options import RunFlags
from fewtune.errors import InputError


def add_to_column(
    run: Path,
    name: str,
    inputs: Sequence[Path],
    texts: Sequence[str],
    out: Path | None,
    running: RunFlags,
    *,
    column: str | None,
    more: bool,
    input: str | tuple[str, ...] | None,
    overwrite: bool,
) -> None:
    """Add a class to a label column from a few examples. Rows that cannot be read are left out, with a sentence."""
    from fewtune.cli.say import saved_in, tell
    from fewtune.files import refuse_existing
    from fewtune.models.add_class import put_over
    from fewtune.models.bundle import FILES
    from fewtune.models.joint.add_class import add_joint_class
    from fewtune.models.joint.bundle import load_joint, save_joint, write_joint
    from fewtune.models.joint.rows import given_rows

    bundle = load_joint(run)
    refuse_existing(out or run, overwrite=overwrite or out is None, writes=FILES)
    if not inputs and not texts:
        raise InputError(f"expected examples of class {name!r}, found none: fewtune add-class {run} NAME FILES_OR_FOLDER.")
    made = add_joint_class(bundle, column, name, given_rows(bundle, inputs, texts, input=input), more=more, running=running.value())
    if out is None:
        said = put_over(partial(write_joint, made.bundle), bundle.read, run)
        where, said = run, (*said, f"This replaced the model in {run}; --out NEW would have kept it.")
    else:
        where, said = save_joint(made.bundle, out, overwrite=overwrite), ()
    tell(*made.sentences, *said)
    tell("", f"{saved_in(where, out or run)}. Next: fewtune predict {where} NEW.csv")
