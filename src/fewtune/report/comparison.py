"""The table of `fewtune compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import final

from fewtune.evaluation.summary import Line, Summary
from fewtune.evaluation.training_settings import Cost
from fewtune.report.judged import judged
from fewtune.report.tables import Cell, Table
from fewtune.statistics import Interval


def comparison_table(
    summary: Summary, caption: str = "", *, full: bool = False, costs: Sequence[Cost] = (), remarks: Sequence[str] = ()
) -> Table:
    """One row a method and setting. Programs get fractions and raw p values, people get percent; `full` adds the columns that only programs
    need.

    `costs`: what training took, shown as the mean of a method's runs. `remarks`: sentences that stand above the notes.
    """
    shown = {c.key for c in _COLUMNS if full or not c.full}
    if all(line.over_seeds is None for line in summary.lines):
        shown -= {"interval_over_seeds"}
    shown |= {axis for axis in ("target", "backbone") if len({getattr(line, axis) for line in summary.lines}) > 1}
    wanted = [c for c in _COLUMNS if c.key in shown]
    rows = [[c.cell(line) for c in wanted] for line in summary.lines]
    heads, keys = [judged(summary.lines).head if c.key == "mean" else c.head for c in wanted], [c.key for c in wanted]
    if any(cost.steps for cost in costs):
        heads += [c.head for c in _COSTS]
        keys += [c.key for c in _COSTS]
        for row, line in zip(rows, summary.lines, strict=True):
            mine = [cost for cost in costs if cost.method == line.method and cost.steps]
            row += [c.cell(mine) for c in _COSTS]
    notes = [*remarks, *summary.notes]
    if summary.ranks:
        ordered = sorted(summary.ranks.items(), key=lambda item: item[1])
        notes.append("Average ranks over the settings (1 is best): " + ", ".join(f"{name} {rank:.1f}" for name, rank in ordered) + ".")
    return Table(tuple(heads), tuple(map(tuple, rows)), caption, tuple(notes), tuple(keys))


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
    return Cell(None, "best") if gap is None else Cell(gap.mean, f"{100 * gap.mean:+.2f} {_half(gap)}".rstrip())


_COLUMNS = (
    _Column("method", "method", lambda line: Cell(line.method, best=line.winner)),
    _Column("target", "target", lambda line: Cell(line.target), full=True),
    _Column("backbone", "backbone", lambda line: Cell(line.backbone), full=True),
    _Column("ways", "ways", lambda line: Cell(_number(line.ways))),
    _Column("shots", "shots", lambda line: Cell(_number(line.shots))),
    _Column("accuracy %", "mean", lambda line: Cell(line.mean, f"{100 * line.mean:.2f}", best=line.winner)),
    _Column("95%", "interval", lambda line: _interval(line.interval)),
    _Column("over seeds", "interval_over_seeds", lambda line: _interval(line.over_seeds)),
    _Column("sd", "sd", lambda line: Cell(line.sd, f"{100 * line.sd:.1f}" if line.n > 1 else ""), full=True),
    _Column("n", "n", lambda line: Cell(line.n)),
    _Column("to the best", "difference", _gap),
    _Column("p", "p", lambda line: Cell(line.p, _p(line.p))),
    _Column("p (the two alone)", "p_alone", lambda line: Cell(line.alone, _p(line.alone)), full=True),
    _Column("p (Wilcoxon)", "p_wilcoxon", lambda line: Cell(line.wilcoxon, _p(line.wilcoxon)), full=True),
    _Column("loss", "loss", lambda line: Cell(line.loss, f"{line.loss:.3f}"), full=True),
    _Column("winner", "winner", lambda line: Cell(line.winner, "yes" if line.winner else ""), full=True),
)


@final
@dataclass(frozen=True)
class _CostColumn:
    """A column of what training took: the mean over a method's runs, nothing where it does not train."""

    head: str
    key: str
    field: str
    unit: float = 1.0

    def cell(self, costs: Sequence[Cost]) -> Cell:
        if not costs:
            return Cell(None)
        mean = sum(getattr(cost, self.field) for cost in costs) / len(costs) / self.unit
        return Cell(mean, f"{mean:,.0f}" if mean >= 10 else f"{mean:.1f}")


_COSTS = (
    _CostColumn("visits", "visits", "visits"),
    _CostColumn("steps", "steps", "steps"),
    _CostColumn("train s", "train_seconds", "seconds"),
    _CostColumn("peak MB", "peak_megabytes", "memory", 1e6),
)


def _interval(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell(None)
    return Cell((interval.low, interval.high), _half(interval))


def _half(interval: Interval) -> str:
    """Nothing where it is not known: of one episode, or one seed."""
    return "" if isnan(interval.half_width) else f"+- {100 * interval.half_width:.2f}"


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _p(p: float) -> str:
    if p != p:
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"
