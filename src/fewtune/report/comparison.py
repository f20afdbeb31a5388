"""The table of `fewtune compare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fewtune.evaluation.summary import Line, Summary
from fewtune.report.tables import Cell, Table
from fewtune.statistics import Interval


def comparison_table(summary: Summary, caption: str = "", *, full: bool = False) -> Table:
    """One row a method and setting. Programs get fractions and raw p values, people get percent; `full` adds what only programs want."""
    seeds = any(line.over_seeds is not None for line in summary.lines)
    wanted = [c for c in _COLUMNS if (full or not c.full) and (seeds or c.key != "interval_over_seeds")]
    rows = tuple(tuple(c.cell(line) for c in wanted) for line in summary.lines)
    notes = list(summary.notes)
    if summary.ranks:
        ordered = sorted(summary.ranks.items(), key=lambda item: item[1])
        notes.append("Average ranks over the settings (1 is best): " + ", ".join(f"{name} {rank:.1f}" for name, rank in ordered) + ".")
    return Table(tuple(c.head for c in wanted), rows, caption, tuple(notes), tuple(c.key for c in wanted))


@final
@dataclass(frozen=True)
class _Column:
    """A column: what people and programs call it, and its cell for a line; `full`: only in the full table."""

    head: str
    key: str
    cell: Callable[[Line], Cell]
    full: bool = False


def _gap(line: Line) -> Cell:
    gap = line.difference
    return Cell(None, "best") if gap is None else Cell(gap.mean, f"{100 * gap.mean:+.2f} +- {100 * gap.half_width:.2f}")


_COLUMNS = (
    _Column("method", "method", lambda line: Cell(line.method, best=line.winner)),
    _Column("ways", "ways", lambda line: Cell(_number(line.ways))),
    _Column("shots", "shots", lambda line: Cell(_number(line.shots))),
    _Column("accuracy %", "mean", lambda line: Cell(line.mean, f"{100 * line.mean:.2f}", best=line.winner)),
    _Column("95%", "interval", lambda line: _interval(line.interval)),
    _Column("over seeds", "interval_over_seeds", lambda line: _interval(line.over_seeds)),
    _Column("sd", "sd", lambda line: Cell(line.sd, f"{100 * line.sd:.1f}"), full=True),
    _Column("n", "n", lambda line: Cell(line.n)),
    _Column("to the best", "difference", _gap),
    _Column("p", "p", lambda line: Cell(line.p, _p(line.p))),
    _Column("p (Wilcoxon)", "p_wilcoxon", lambda line: Cell(line.wilcoxon, _p(line.wilcoxon)), full=True),
    _Column("loss", "loss", lambda line: Cell(line.loss, f"{line.loss:.3f}"), full=True),
    _Column("winner", "winner", lambda line: Cell(line.winner, "yes" if line.winner else ""), full=True),
)


def _interval(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell(None)
    return Cell((interval.low, interval.high), f"+- {100 * interval.half_width:.2f}")


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _p(p: float) -> str:
    if p != p:
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"
