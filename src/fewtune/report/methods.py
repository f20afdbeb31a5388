"""The table of `fewtune methods`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from fewtune.recipes.described import Described, Option
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.words import one_line

LONG = 24  # letters of a default that is written out in the table


def render_methods(found: Sequence[Described], format: Literal["table", "json"], *, width: int | None = None) -> str:
    """A row for each; one alone is shown with its whole description. `json`: a list of objects, with every default written out."""
    if format == "json":
        return json_text([asdict(one) for one in found])
    if len(found) == 1:
        return _whole(found[0], width)
    kinds = {one.kind for one in found}
    columns = [*(["part of"] if kinds != {"method"} else []), "name", "options", "reference", "what it is"]
    rows = [[*([Cell(one.kind)] if kinds != {"method"} else []), *_cells(one)] for one in found]
    notes = ["fewtune methods NAME shows one with all that is known of it."]
    if kinds == {"method"}:
        notes.append("--parts lists what methods are written with: heads, losses, samplers, ...")
    return to_terminal(Table.of(columns, rows, notes=notes), width=width)


def _cells(one: Described) -> list[Cell]:
    return [Cell(one.name), Cell(", ".join(map(_written, one.options))), Cell(one.reference.partition(" (")[0]), Cell(one.line)]


def _written(option: Option) -> str:
    if option.default is None:
        return option.name
    return f"{option.name}={option.default if len(option.default) <= LONG else '...'}"


def _whole(one: Described, width: int | None) -> str:
    rows = [[Cell(o.name), Cell(o.type), Cell("must be given" if o.default is None else o.default)] for o in one.options]
    said = "\n".join(one_line(line) for line in one.text.splitlines())
    if not rows:
        return f"{one.name}\n\n{said}"
    return f"{one.name}\n\n{said}\n\n{to_terminal(Table.of(['option', 'type', 'default'], rows), width=width)}"
