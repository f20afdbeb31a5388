"""What was found out on label columns, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewtune.joint.finetuned import FINETUNED
from fewtune.joint.judged import INDEPENDENT, TaskJudged, truth_of
from fewtune.joint.rows import JointRows
from fewtune.models.joint.evaluate import TaskMeasured
from fewtune.statistics import Interval
from fewtune.words import counted, rounded

NAMES = {
    "accuracy": "right answers",
    "balanced_accuracy": "balanced accuracy",
    "r2": "R2",
    "average_precision": "average precision",
}
NAMED = 3  # rows in a sentence
APART = 10.0  # times: scales that differ by less need no word
PERCENT = {"accuracy", "balanced_accuracy"}
UNITS = {"rmse", "mae"}  # in the units of the column
WAYS = {
    "logistic": "logistic regression",
    "ridge": "ridge regression",
    INDEPENDENT: "a network of its own",
    FINETUNED: "a network with the finetuned backbone",
}


def shown(metric: str, value: float) -> str:
    """A value of a metric, for people; "unknown" where it has none."""
    if math.isnan(value):
        return "unknown"
    return f"{100 * value:.0f}%" if metric in PERCENT else rounded(value) if metric in UNITS else f"{value:.2f}"


def between(metric: str, interval: Interval) -> str:
    """The bounds of a metric, for people; "unknown" where there are none."""
    if math.isnan(interval.low):
        return "unknown"
    return f"{shown(metric, interval.low)} to {shown(metric, interval.high)}"


def way_in_words(way: str) -> str:
    """What answers a task."""
    return WAYS.get(way, f"the network {way}, shared by all tasks")


def summary_sentence(tasks: Sequence[TaskJudged]) -> str:
    """Which columns are answered better than by guessing."""
    better = [task.task.name for task in tasks if beats_guessing(task)]
    rest = [task.task.name for task in tasks if not beats_guessing(task)]
    if not rest:
        every = "Both" if len(tasks) == 2 else f"All {len(tasks)}"
        return f"{every} columns are answered better than by guessing." if len(tasks) > 1 else "Better than guessing."
    if not better:
        return f"No column is shown to be answered better than by guessing: {', '.join(rest)}."
    return f"Answered better than by guessing: {', '.join(better)}. Not shown to be: {', '.join(rest)}."


def beats_guessing(found: TaskJudged) -> bool:
    """Whether the whole interval of the metric is better than what always giving the same answer gets."""
    value = found.best.value
    return value.low > found.guessing if found.metric.better == "high" else value.high < found.guessing


def task_sentence(found: TaskJudged) -> str:
    """How well new rows will be answered, beside somebody who only knows the mean or the commonest label."""
    metric, best, name = found.metric.name, found.best, found.task.name
    spread, by = between(metric, best.value), f"answered by {way_in_words(found.chosen)}"
    if metric == "r2":
        truth = truth_of(found.task, found.task.train)
        off, blind = float(abs(best.answers - truth).mean()), float(abs(truth.mean() - truth).mean())
        within = f"90% are within {rounded(best.half)}; " if best.half == best.half else ""
        return (
            f"{name}: new numbers are off by {rounded(off)} on average, and by {rounded(blind)} if the mean is always given; {within}"
            f"R2 {shown(metric, best.value.mean)} ({spread}); {by}."
        )
    guess = f"{'always the commonest' if metric == 'accuracy' else 'guessing'}: {shown(metric, found.guessing)}"
    return f"{name}: {NAMES.get(metric, metric)} {shown(metric, best.value.mean)} ({spread}; {guess}); {by}."


def sharing_sentences(tasks: Sequence[TaskJudged]) -> list[str]:
    """For which tasks learning together is shown to help or to hurt."""
    judged = [(task, task.sharing) for task in tasks if task.sharing is not None]
    said = []
    for verdict, words in (
        ("helps", "Learning all columns together helps {}."),
        ("hurts", "Learning all columns together hurts {} (negative transfer): a network of its own does better."),
    ):
        those = [
            f"{task.task.name} ({_signed(task.metric.name, sharing.gain.mean)}, {_signed(task.metric.name, sharing.gain.low)} to "
            f"{_signed(task.metric.name, sharing.gain.high)})"
            for task, sharing in judged
            if sharing.verdict == verdict
        ]
        if those:
            said.append(words.format(", ".join(those)))
    unknown = [task.task.name for task, sharing in judged if sharing.verdict == "not shown"]
    if unknown:
        said.append(f"It is not shown that learning together helps or hurts {', '.join(unknown)}.")
    return said


def _signed(metric: str, value: float) -> str:
    return f"{100 * value:+.1f} points" if metric in PERCENT else f"{value:+.3f}"


def measured_sentence(found: TaskMeasured) -> str:
    """What a task gets on rows of the test split."""
    name = NAMES.get(found.metric, found.metric)
    if math.isnan(found.value.mean):
        return f"{found.name}: {name} has no value on {counted(found.rows, 'test row')}: it needs rows with different labels."
    return (
        f"{found.name}: {name} {shown(found.metric, found.value.mean)} ({between(found.metric, found.value)}) on {found.rows:,} test rows."
    )


def left_out_sentence(rows: JointRows) -> tuple[str, ...]:
    """A sentence where rows cannot be read."""
    if not rows.left_out:
        return ()
    named = "; ".join(f"{name} ({reason})" for name, reason in rows.left_out[:NAMED])
    more = "; ..." if len(rows.left_out) > NAMED else "."
    return (f"{counted(len(rows.left_out), 'row', ('was', 'were'))} left out, which cannot be read: {named}{more}",)


def copied_sentence(rows: JointRows) -> tuple[str, ...]:
    """A sentence where test rows are copies of rows that are learned from."""
    if not rows.copied:
        return ()
    said = counted(rows.copied, "test row", ("was", "were"))
    return (f"{said} not measured on, because {'it has' if rows.copied == 1 else 'they have'} the input of a row that was learned from.",)


def scales_sentence(rows: JointRows) -> tuple[str, ...]:
    """A sentence where columns of numbers have very different scales, and so are learned in standard deviations."""
    spreads = {task.name: task.scale[1] for task in rows.tasks if task.column.kind == "float"}
    if len(spreads) < 2 or max(spreads.values()) < APART * min(spreads.values()):
        return ()
    small, large = (end(spreads, key=spreads.__getitem__) for end in (min, max))
    return (
        f"The numbers of {large} vary {spreads[large] / spreads[small]:,.0f} times as much as those of {small}: each column is learned in "
        "its own standard deviations, or the larger numbers would decide alone.",
    )
