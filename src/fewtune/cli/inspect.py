"""`fewtune inspect DATA`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_DATA_FLAGS, DataFlags


def inspect(
    data: Path,
    /,
    *,
    quick: bool = False,
    format: Literal["table", "json"] = "table",
    template: str | None = None,
    words: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    backbone: str | None = None,
    reading: DataFlags = NO_DATA_FLAGS,
) -> None:
    """Show what a data set holds, and its problems: classes, counts, sizes, duplicates, corrupt files, imbalance.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, an .npz file, or drawn scenes by name, such as scenes:colour,rows=500,seed=11.
    quick: bool
        Read only the headers of images, not every pixel.
    format: str
        table is for people, json is for programs.
    template: str
        Also show what a prompt looks like, for a masked language model: a sentence such as '{text} It was [MASK].', or the name of a
        common task such as sst2.
    words: str
        What stands for a class at the mask: class=word, such as positive=great negative=terrible.
    backbone: str
        Also count the texts that this model cannot read whole, and check that each label word is one of its tokens.
    """
    from fewtune.cli.say import answer, tell, terminal_width

    if (wanted := reading.columns(data)) is not None:
        from fewtune.data.reading.columns_said import columns_in_words
        from fewtune.data.reading.label_table import read_label_table

        tell(*columns_in_words(read_label_table(data, wanted)))
        return
    from fewtune.data.audit import inspect_examples
    from fewtune.report.inspection import render_audit

    examples = reading.read(data)
    said = None
    if template is not None or words or backbone is not None:
        from fewtune.cli.reading_said import reading_said

        said = reading_said(examples, template, words or [], backbone)
    answer(render_audit(inspect_examples(examples, deep=not quick), format, width=terminal_width(), reading=said))
