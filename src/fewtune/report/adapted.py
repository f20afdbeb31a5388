"""The tables that `adapt` ends with: every learner beside the chosen one, and each class's recall."""

from __future__ import annotations

import math

from fewtune.adaptation.outcome import Outcome
from fewtune.recipes.default_learners import display_name
from fewtune.report.tables import Cell, Table


def learners_table(outcome: Outcome) -> Table:
    """Held-out accuracy of every learner, and how far it is behind the chosen one."""
    choice = outcome.choice
    rows = []
    for candidate in choice.candidates:
        chosen = candidate.name == choice.name
        gap = candidate.difference
        rows.append(
            (
                Cell(candidate.name, display_name(candidate.name), best=chosen),
                Cell(candidate.accuracy, "" if math.isnan(candidate.accuracy) else f"{100 * candidate.accuracy:.1f}", best=chosen),
                Cell(
                    None if gap is None else gap.mean,
                    "chosen" if chosen else "" if gap is None else f"{_points(-gap.mean)} ({_points(-gap.high)} to {_points(-gap.low)})",
                ),
                Cell(candidate.p, "" if math.isnan(candidate.p) else f"{candidate.p:.3f}"),
            )
        )
    splits, features = choice.splits, "frozen" if choice is outcome.frozen else "finetuned"
    notes = (
        f"Held-out accuracy on {splits.repeat.max(initial=-1) + 1} x {splits.folds}-fold splits of the labelled rows; "
        "p: against the chosen one, paired over rows (corrected resampled t test), adjusted for having picked the best.",
    )
    return Table(
        columns=("learner", "accuracy %", "to the chosen (95%)", "p"),
        rows=tuple(rows),
        caption=f"Learners on {features} features, on the same splits",
        notes=notes if splits.episodes is not None else (),
        keys=("learner", "accuracy", "difference", "p"),
    )


def _points(value: float) -> str:
    """0.031 -> +3.1, and never -0.0."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def recall_table(outcome: Outcome, most: int = 30) -> Table:
    """Held-out recall of each class and what it is most often taken for; the `most` worst classes where there are more."""
    choice, names = outcome.choice, outcome.bundle.class_names
    shots = outcome.target.shots()
    order = sorted(range(len(names)), key=lambda k: (math.isnan(choice.recall[k]), choice.recall[k]))
    shown = order[:most]
    rows = []
    for k in shown if len(order) > most else range(len(names)):
        wrong = choice.confusion[k].copy()
        wrong[k] = 0
        taken = names[int(wrong.argmax())] if wrong.max() > 0 else ""
        recall = float(choice.recall[k])
        rows.append(
            (Cell(names[k]), Cell(int(shots[k])), Cell(recall, "unknown" if math.isnan(recall) else f"{100 * recall:.0f}"), Cell(taken))
        )
    notes = (f"The {most} classes with the lowest recall of {len(names)}.",) if len(order) > most else ()
    return Table(
        columns=("class", "examples", "right %", "most often taken for"),
        rows=tuple(rows),
        caption="Classes",
        notes=notes,
        keys=("class", "examples", "recall", "taken_for"),
    )
