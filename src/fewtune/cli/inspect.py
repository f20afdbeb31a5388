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
    """Show what a data set holds, and its problems: classes, counts, sizes, duplicates, corrupt files, imbalance.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, an .npz file, or drawn scenes by name, such as scenes:colour,rows=500,seed=1.
    quick: bool
        Read only the headers of images, not every pixel.
    format: str
        table is for people, json is for programs.
    """
    from fewtune.cli.say import answer, tell, terminal_width

    if (wanted := reading.columns(data)) is not None:
        from fewtune.data.reading.columns_said import columns_in_words
        from fewtune.data.reading.label_table import read_label_table

        tell(*columns_in_words(read_label_table(data, wanted)))
        return
    from fewtune.data.audit import inspect_examples
    from fewtune.report.inspection import render_audit

    answer(render_audit(inspect_examples(reading.read(data), deep=not quick), format, width=terminal_width()))
