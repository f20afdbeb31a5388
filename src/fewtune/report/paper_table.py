r"""A comparison as the table of a paper: a row a method, a column for each number of shots, mean \pm half of the interval, winners bold."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from fewtune.evaluation.summary import Line, Summary
from fewtune.report.tables import latex_text


def paper_table(summary: Summary, caption: str = "", notes: Sequence[str] = ()) -> str:
    r"""A LaTeX `table` that needs `\usepackage{booktabs}`. Bold: better than every other method of its column by the paired tests.

    With several targets or backbones each has its columns under a heading of its own. Without a last line end.
    """
    lines = summary.lines
    methods = list(dict.fromkeys(line.method for line in lines))
    settings = list(dict.fromkeys(line.setting for line in lines))
    heads = [next(line for line in lines if line.setting == setting) for setting in settings]
    cells = {(line.method, line.setting): _cell(line) for line in lines}
    text = [r"\begin{table}", r"\centering"]
    if caption:
        text.append(rf"\caption{{{latex_text(caption)}}}")
    text += [rf"\begin{{tabular}}{{l{'r' * len(settings)}}}", r"\toprule", *_headings(heads)]
    text += [" & ".join(["method", *(latex_text(f"{h.ways}-way {h.shots}-shot") for h in heads)]) + r" \\", r"\midrule"]
    text += [" & ".join([latex_text(m), *(cells[m, s] for s in settings)]) + r" \\" for m in methods]
    text += [r"\bottomrule", r"\end{tabular}"]
    text += [rf"\par\smallskip{{\footnotesize {latex_text(note)}\par}}" for note in notes]
    return "\n".join([*text, r"\end{table}"])


def _cell(line: Line) -> str:
    mean, half = f"{100 * line.mean:.2f}", line.interval.half_width
    around = "" if isnan(half) else rf" \pm {100 * half:.2f}"  # not known of one episode
    return rf"$\mathbf{{{mean}}}{around}$" if line.winner else f"${mean}{around}$"


def _headings(heads: Sequence[Line]) -> list[str]:
    """A line of targets and one of backbones, above their columns; none where there is one."""
    found = []
    for axis in ("target", "backbone"):
        names = [getattr(head, axis) for head in heads]
        if len(set(names)) < 2:
            continue
        spans: list[tuple[str, int]] = []
        for name in names:
            if spans and spans[-1][0] == name:
                spans[-1] = name, spans[-1][1] + 1
            else:
                spans.append((name, 1))
        found.append("".join(rf" & \multicolumn{{{count}}}{{c}}{{{latex_text(name)}}}" for name, count in spans) + r" \\")
    return found
