"""What label columns hold, in words for people."""

from __future__ import annotations

from fewtune.data.examples import Column
from fewtune.data.reading.label_table import LabelTable
from fewtune.words import counted

_NAMED = 4  # classes in a sentence


def about(column: Column) -> str:
    """What a label column holds, for people."""
    names = column.names
    if column.kind == "float":
        known = column.values[column.known]
        return f"a number, {known.min():g} to {known.max():g}" if len(known) else "a number"
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    if column.kind == "multi":
        return f"{names[0]} or not" if len(names) == 1 else f"several of {len(names)} labels ({shown})"
    if len(names) == 1:
        return f"always {names[0]}"
    return f"one of two ({shown})" if len(names) == 2 else f"one of {len(names)} classes ({shown})"


def columns_in_words(table: LabelTable) -> list[str]:
    """What was read, one sentence a line."""
    examples = table.examples
    numbers = f"; numbers among its inputs: {', '.join(table.names)}" if table.names else ""
    lines = [f"{examples.name}: {counted(len(examples), 'row')}{numbers}."]
    for name, column in examples.columns.items():
        known = int(column.known.sum())
        missing = f", {len(examples) - known:,} not" if known < len(examples) else ""
        lines.append(f"  {name}: {about(column)}; {known:,} rows labelled{missing}.")
    return lines
