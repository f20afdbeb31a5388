"""`fewtune inspect DATA`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fewtune.cli.options import NO_DATA_FLAGS, DataFlags


def inspect(
    data: Path,
    /,
    *,
    quick: bool = False,
    format: Literal["table", "json"] = "table",
    reading: DataFlags = NO_DATA_FLAGS,
) -> None:
    """Say what is in a data set, and what is wrong with it: classes, counts, sizes, duplicates, corrupt files, imbalance.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, or an .npz file.
    quick: bool
        Look at image headers only, not at every pixel.
    format: str
        What goes to standard output.
    """
    from fewtune.cli.say import answer, terminal_width
    from fewtune.data.audit import inspect_examples
    from fewtune.report.inspection import render_audit

    answer(render_audit(inspect_examples(reading.read(data), deep=not quick), format, width=terminal_width()))
