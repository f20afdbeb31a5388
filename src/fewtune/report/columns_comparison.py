"""A comparison on label columns: tables for people and programs, and a folder with its page."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from fewtune.errors import InputError
from fewtune.files import new_folder, write_bytes
from fewtune.joint.study import ColumnResult, ColumnsComparison
from fewtune.report.comparison_page import comparison_page
from fewtune.report.tables import Cell, Format, Table, render, to_csv, to_terminal

RESULTS = ("results.csv", "report.html")


def columns_table(found: ColumnsComparison) -> Table:
    """One row a method, one column a label column: the metric, and its gain over the first method where it is shown."""
    rows = []
    for method in found.methods:
        cells = [Cell(method)]
        for column in found.columns:
            one = found.of(method, column)
            cells.append(Cell(one.value.mean, _shown(one), best=_better(one)))
        cells.append(Cell(found.seconds[method], f"{found.seconds[method]:.1f}"))
        rows.append(tuple(cells))
    heads = tuple(f"{column} ({found.of(found.methods[0], column).metric.name})" for column in found.columns)
    seeds = f"{len(found.seeds)} training seed" + ("s" if len(found.seeds) > 1 else "")
    notes = (
        f"{found.train:,} rows to learn from, {found.test:,} held out; {seeds}. Marked: better than {found.methods[0]} on the same rows "
        "and seeds (95% bootstrap interval over both above 0); a cross: worse. Of 20 that are equally good, about one is marked by chance.",
    )
    return Table(
        columns=("method", *heads, "seconds a run"),
        rows=tuple(rows),
        caption=f"Label columns of {found.data}",
        notes=notes,
        keys=("method", *found.columns, "seconds"),
    )


def gains_table(found: ColumnsComparison) -> Table:
    """Every result beside the first method: value, interval, gain, its interval and p."""
    rows = tuple(
        (
            Cell(one.method),
            Cell(one.column),
            Cell(one.metric.name),
            Cell(one.value.mean, f"{one.value.mean:.3f}"),
            Cell((one.value.low, one.value.high), f"{one.value.low:.3f} to {one.value.high:.3f}"),
            Cell(None if one.gain is None else one.gain.mean, "" if one.gain is None else f"{one.gain.mean:+.3f}"),
            Cell(
                None if one.gain is None else (one.gain.low, one.gain.high),
                "" if one.gain is None else f"{one.gain.low:+.3f} to {one.gain.high:+.3f}",
            ),
            Cell(one.p, "" if one.p is None else f"{one.p:.3f}"),
            Cell(one.rows),
        )
        for one in found.results
    )
    columns = ("method", "column", "metric", "value", "95%", f"gain over {found.methods[0]}", "gain 95%", "p", "rows")
    keys = ("method", "column", "metric", "value", "interval", "gain", "gain_interval", "p", "rows")
    return Table(columns=columns, rows=rows, caption=f"Label columns of {found.data}, in detail", keys=keys)


def experts_tables(found: ColumnsComparison) -> list[Table]:
    """For each mixture what every column's gate gives to each expert, the mean over held-out rows and seeds."""
    made = []
    for method, uses in found.use.items():
        share = torch.stack([use.share for use in uses]).mean(0)
        entropy = torch.stack([use.entropy for use in uses]).mean(0)
        polarised = torch.stack([use.polarised for use in uses]).sum(0)
        rows = tuple(
            (
                Cell(column),
                *(Cell(float(one), f"{100 * float(one):.0f}%") for one in share[place]),
                Cell(float(entropy[place]), f"{float(entropy[place]):.2f}"),
                Cell(int(polarised[place])),
            )
            for place, column in enumerate(found.columns)
        )
        heads = tuple(f"expert {number}" for number in range(1, share.shape[1] + 1))
        notes = (
            f"Entropy: {math.log(share.shape[1]):.2f} where all experts are used alike, 0 for one. Polarised: in how many of {len(uses)} "
            "runs one expert gets more than 90%.",
        )
        made.append(Table(("column", *heads, "entropy", "polarised"), rows, f"Use of experts: {method}", notes))
    return made


def render_columns(found: ColumnsComparison, format: Format, *, width: int | None = None, color: bool = False) -> str:
    """`table`: all tables for people; other formats: the second one, a row for each method and column."""
    if format != "table":
        return render(gains_table(found), format)
    return "\n\n".join(
        to_terminal(table, width=width, color=color) for table in (columns_table(found), gains_table(found), *experts_tables(found))
    )


def write_columns(found: ColumnsComparison, out: Path, *, overwrite: bool) -> Path:
    """Write the results (CSV) and the page into a folder; returns where it is. Raises InputError for a name that is taken."""
    if out.suffix.lower() in (".csv", ".html"):
        raise InputError(f"{out}: expected the name of a folder for --out.")
    with (made := new_folder(out, overwrite=overwrite)) as folder:
        write_bytes(folder / "results.csv", (to_csv(gains_table(found)) + "\n").encode("utf-8", "replace"))
        write_bytes(folder / "report.html", comparison_page(columns_table(found)).encode("utf-8", "replace"))
    return made.where


def _shown(one: ColumnResult) -> str:
    mark = " ✗" if one.gain is not None and one.gain.high < 0 else ""
    return ("" if math.isnan(one.value.mean) else f"{one.value.mean:.3f}") + mark


def _better(one: ColumnResult) -> bool:
    return one.gain is not None and one.gain.low > 0
