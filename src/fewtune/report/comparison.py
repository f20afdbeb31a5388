"""The table of `fewtune compare`."""

from __future__ import annotations

from fewtune.evaluation.summary import Line, Summary
from fewtune.report.tables import Cell, Table
from fewtune.statistics import Interval


def comparison_table(summary: Summary, caption: str = "") -> Table:
    """One row a method and setting. Programs get fractions and raw p values, people get percent."""
    seeds = any(line.over_seeds is not None for line in summary.lines)
    columns = [("method", "method"), ("ways", "ways"), ("shots", "shots"), ("accuracy %", "mean"), ("95% interval", "interval")]
    columns += [("over seeds", "interval_over_seeds")] if seeds else []
    columns += [
        ("sd", "sd"),
        ("episodes", "n"),
        ("to the best", "difference"),
        ("p", "p"),
        ("p (Wilcoxon)", "p_wilcoxon"),
        ("loss", "loss"),
    ]
    columns += [("winner", "winner")]
    rows = [tuple(_cells(line, seeds)) for line in summary.lines]
    notes = list(summary.notes)
    if summary.ranks:
        ordered = sorted(summary.ranks.items(), key=lambda item: item[1])
        notes.append("Average ranks over the settings (1 is best): " + ", ".join(f"{name} {rank:.1f}" for name, rank in ordered) + ".")
    heads, keys = zip(*columns, strict=True)
    return Table(columns=heads, rows=tuple(rows), caption=caption, notes=tuple(notes), keys=keys)


def _cells(line: Line, seeds: bool) -> list[Cell]:
    cells = [
        Cell(line.method, best=line.winner),
        Cell(_number(line.ways)),
        Cell(_number(line.shots)),
        Cell(line.mean, f"{100 * line.mean:.2f}", best=line.winner),
        _interval(line.interval),
    ]
    if seeds:
        cells.append(_interval(line.over_seeds))
    gap = line.difference
    return [
        *cells,
        Cell(line.sd, f"{100 * line.sd:.1f}"),
        Cell(line.n),
        Cell(gap.mean if gap else None, f"{100 * gap.mean:+.2f} +- {100 * gap.half_width:.2f}" if gap else "best"),
        Cell(line.p, _p(line.p)),
        Cell(line.wilcoxon, _p(line.wilcoxon)),
        Cell(line.loss, f"{line.loss:.3f}"),
        Cell(line.winner, "yes" if line.winner else ""),
    ]


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
