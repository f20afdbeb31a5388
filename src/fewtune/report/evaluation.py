"""An evaluation as sentences and tables for people, JSON for programs."""

from __future__ import annotations

import math
from typing import Any, Literal

from fewtune.adaptation.verdict import HEADLINES, guess_among, light_of_test, often
from fewtune.models.evaluate import Evaluation
from fewtune.report.encoded import json_text
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.statistics import ByGroup, Interval
from fewtune.words import counted, one_line

MATRIX = 12  # classes: larger matrices do not fit on a terminal
MOST = 30  # rows of a table


def render_evaluation(made: Evaluation, format: Literal["table", "json"], *, width: int | None = None, color: bool = False) -> str:
    """`table`: how often new answers will be right and whether that is enough, recall by class, and the confusion matrix; with many
    classes, the most frequent confusions instead.

    After them, what was answered wrongly, the surest answers first. `json`: one object with everything; accuracies are fractions, what is
    unknown is null.
    """
    if format == "json":
        return json_text(_record(made))
    mistaken = confusion_matrix(made) if len(made.class_names) <= MATRIX else most_confused(made)
    tables = [recall_by_class(made), by_group(made.groups), mistaken, wrong_table(made)]
    first = "\n".join(map(one_line, verdict_lines(made)))
    drawn = [to_terminal(table, width=width, color=color) for table in tables if table.rows]
    return "\n\n".join([first, *drawn, "\n".join(map(one_line, made.sentences))])


def verdict_lines(made: Evaluation) -> tuple[str, str, str]:
    """How often the answers to new examples will be right, whether that is enough (as after `adapt`), and what it was measured on."""
    guessing, guess = guess_among(made.counts, made.class_names)
    recall = {name: float(share) for name, share in zip(made.class_names, made.recall, strict=True) if not math.isnan(share)}
    light, reason = light_of_test(made.accuracy, guessing, recall)
    return (
        f"{often(made.accuracy, made.noun)}; {guess}.",
        f"{HEADLINES[light]}: {reason}",
        f"Measured on {counted(made.count, made.noun)} of {made.data}.",
    )


def recall_by_class(made: Evaluation) -> Table:
    """Recall of each class and what it is most often taken for; the worst where there are many."""
    order = [k for k in range(len(made.class_names)) if made.counts[k]]
    if len(order) > MOST:
        order = sorted(order, key=lambda k: made.recall[k])[:MOST]
    rows = []
    for k in order:
        wrong = made.confusion[k].copy()
        wrong[k] = 0
        taken = made.class_names[int(wrong.argmax())] if wrong.any() else ""
        rows.append(
            (Cell(made.class_names[k]), Cell(int(made.counts[k])), Cell(float(made.recall[k]), f"{100 * made.recall[k]:.0f}"), Cell(taken))
        )
    notes = (f"The {MOST} classes with the lowest recall.",) if len(order) < int((made.counts > 0).sum()) else ()
    return Table(columns=("class", "rows", "recall %", "most often taken for"), rows=tuple(rows), caption="Recall by class", notes=notes)


def by_group(found: ByGroup | None) -> Table:
    """Accuracy of each group of the data; the worst where there are many."""
    each = {} if found is None else dict(found.each)
    shown = sorted(each, key=lambda name: each[name].mean)[:MOST] if len(each) > MOST else list(each)
    rows = tuple((Cell(name), Cell(each[name].n), *accuracy_cells(each[name])) for name in shown)
    notes = (f"The {MOST} groups with the lowest accuracy.",) if len(shown) < len(each) else ()
    return Table(columns=("group", "rows", "accuracy %", "95%"), rows=rows, caption="Accuracy by group", notes=notes)


def accuracy_cells(accuracy: Interval) -> tuple[Cell, Cell]:
    """An accuracy in percent, and its interval."""
    spread = f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}"
    return Cell(accuracy.mean, f"{100 * accuracy.mean:.1f}"), Cell((accuracy.low, accuracy.high), spread)


def confusion_matrix(made: Evaluation) -> Table:
    """Rows by true class (down) and answer (across)."""
    rows = tuple(
        (Cell(name), *(Cell(int(n), str(n) if n else "", best=False) for n in made.confusion[k])) for k, name in enumerate(made.class_names)
    )
    return Table(columns=("true \\ answer", *made.class_names), rows=rows, caption="Confusion matrix")


def most_confused(made: Evaluation) -> Table:
    """The pairs of classes that are mistaken most often, the first for the second."""
    ways = len(made.class_names)
    wrong = made.confusion.copy()
    wrong[range(ways), range(ways)] = 0
    pairs = [divmod(int(place), ways) for place in wrong.ravel().argsort(kind="stable")[::-1][:MOST]]
    rows = tuple((Cell(made.class_names[i]), Cell(made.class_names[j]), Cell(int(wrong[i, j]))) for i, j in pairs if wrong[i, j])
    return Table(columns=("class", "taken for", "rows"), rows=rows, caption="Most frequent confusions")


def wrong_table(made: Evaluation) -> Table:
    """What was answered wrongly, the surest answers first; at most 30 of them."""
    unsure = not all(w.given for w in made.wrong)
    rows = tuple(
        (
            Cell(w.name),
            Cell(w.true),
            Cell(w.said),
            Cell(w.probability, f"{100 * w.probability:.0f}"),
            *((Cell("" if w.given else "no label is given"),) if unsure else ()),
        )
        for w in made.wrong[:MOST]
    )
    hidden = len(made.wrong) > len(rows)
    notes = (f"The surest {MOST} of {len(made.wrong):,}; --format json lists all, --report FILE shows them.",) if hidden else ()
    columns = ("input", "true", "answered", "probability %", *(("note",) if unsure else ()))
    return Table(columns=columns, rows=rows, caption="Answered wrongly", notes=notes)


def _record(made: Evaluation) -> dict[str, Any]:
    return {
        "data": made.data,
        "rows": made.count,
        "verdict": list(verdict_lines(made)),
        "accuracy": _interval(made.accuracy),
        "expected_calibration_error": made.calibration_error,
        "metrics": {name: None if math.isnan(value) else value for name, value in made.metrics.items()},
        "threshold": made.threshold,
        "abstained": made.abstained,
        "accuracy_of_the_rest": _interval(made.answered),
        "classes": [
            {"class": name, "rows": int(n), "recall": None if math.isnan(r) else float(r)}
            for name, n, r in zip(made.class_names, made.counts, made.recall, strict=True)
        ],
        "groups": None if made.groups is None else _groups(made.groups),
        "confusion": made.confusion.tolist(),
        "wrong": [
            {"input": w.name, "true": w.true, "answered": w.said, "probability": w.probability, "given": w.given} for w in made.wrong
        ],
        "left_out": [{"row": name, "reason": reason} for name, reason in made.left_out],
        "sentences": list(made.sentences),
    }


def _groups(found: ByGroup) -> dict[str, Any]:
    each = [{"group": name, "rows": one.n, **(_interval(one) or {})} for name, one in found.each.items()]
    return {"worst": found.worst, "mean": _interval(found.mean), "each": each}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high, "level": interval.level}
