"""The table of `fewtune backbones`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fewtune.backbones.offered import TOKENS, Offered
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal


def render_backbones(found: Sequence[Offered], format: Literal["table", "json"], *, width: int | None = None) -> str:
    """`json`: a list with one object for each model (see `_record`), in which unknown values are null."""
    if format == "json":
        return json_text([_record(one) for one in found])
    columns = ["--backbone", "for", "installed", "here", "million weights", "features", "licence", "good at"]
    timed = any(one.per_second is not None for one in found)
    rows = [[*_cells(one), *([Cell(one.per_second, _rate(one.per_second))] if timed else [])] for one in found]
    notes = ["installed: the library. here: the weights are on this machine; others are fetched when they are first used."]
    if timed:
        notes.append(f"a second: photos, or texts of {TOKENS} tokens, on this machine when it was last measured (--measure).")
    return to_terminal(Table.of([*columns, *(["a second"] if timed else [])], rows, notes=notes), width=width)


def _cells(one: Offered) -> list[Cell]:
    model = one.model
    name = f"{model.size}: {model.name}" if model.size else model.name
    modality = "class names, images" if model.labels else f"{model.modality}s"
    return [
        Cell(name),
        Cell(modality),
        Cell("yes" if one.installed else "no"),
        Cell("yes" if one.here else "no"),
        Cell(model.parameters, f"{model.parameters:.1f}"),
        Cell(model.features),
        Cell(model.licence),
        Cell(model.good_at),
    ]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _record(one: Offered) -> dict[str, object]:
    model = one.model
    return {
        "name": model.name,
        "size": model.size or None,
        "modality": model.modality,
        "class_names": model.labels,
        "installed": one.installed,
        "weights_here": one.here,
        "parameters": round(model.parameters * 1e6),
        "features": model.features,
        "licence": model.licence,
        "good_at": model.good_at,
        "per_second": one.per_second,
    }
