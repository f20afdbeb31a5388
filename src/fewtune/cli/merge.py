"""`fewtune merge RUNS...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def merge(
    runs: list[Path],
    /,
    *,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    format: Literal["table", "json", "csv", "latex", "markdown"] = "table",
) -> None:
    """Put together the cells of a study that several workers ran (compare --shard), or several finished runs (compare --out).

    The cells of one study give what one process would have given, bit for bit. Missing cells are named.

    Parameters
    ----------
    runs: Path
        The --out of the workers; or two or more folders of finished runs that answer the same episodes, or other data and backbones.
    out: Path
        The folder for the whole: needed for several runs.
    overwrite: bool
        Replace a run in --out.
    format: str
        table is for people, json and csv are for programs, latex and markdown are for documents.
    """
    from fewtune.cli.first import check_data
    from fewtune.files.leases import shared_folder

    check_data(*(run if run.exists() or not shared_folder(run).exists() else shared_folder(run) for run in runs))

    from fewtune.api.sharing import merge as merged
    from fewtune.cli.say import answer, note, terminal_width

    found = merged(runs, out, overwrite=overwrite)
    answer(found.render(format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
    note(f"The run is kept in {found.models}.")
