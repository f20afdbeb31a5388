"""What the MAMF study found, in sentences: the paper's two answers, each with its interval, and what they hang on."""

from __future__ import annotations

from fewtune.statistics import Interval
from fewtune.studies.mamf.lines import CLASSICAL, FOMAML, MAMF, NEW_HEADS
from fewtune.studies.mamf.run import Ran
from fewtune.studies.mamf.summary import SEEDS, Summary


def answers(summary: Summary) -> list[str]:
    """The two questions of the paper, on test tasks."""
    found = []
    gain = summary.difference(MAMF, CLASSICAL)
    if gain is not None:
        found.append(
            f"Does uniform task sampling help? MAMF minus classical finetuning: {points(gain)} over all test configurations{_says(gain)}."
        )
    trend = next((t for t in summary.trends if (t.method, t.other) == (FOMAML, MAMF)), None)
    if trend is not None:
        slope = trend.slope
        bounds = f" (95% interval {10 * slope.low:+.1f} to {10 * slope.high:+.1f})" if slope.low == slope.low else ""
        found.append(
            f"Does FOMAML gain on MAMF where zero-shot accuracy is high? {10 * slope.mean:+.1f} points for each 10 points of zero-shot "
            f"accuracy{bounds}{_says(slope)}."
        )
    heads = summary.difference(f"{MAMF}{NEW_HEADS}", f"{CLASSICAL}{NEW_HEADS}")
    if heads is not None:
        found.append(f"The same with new random heads, as in the authors' code: MAMF minus classical {points(heads)}.")
    return found


def remarks(summary: Summary, ran: Ran) -> list[str]:
    """What one has to know to read the figures."""
    settings = ran.settings
    enough = len(settings.seeds) >= SEEDS
    unit = (
        "over seeds, each with classes, rows, tasks and training of its own"
        if enough
        else f"over all tasks: with fewer than {SEEDS} seeds, how training runs differ is not known"
    )
    parts = "other rows of the same classes" if settings.split == "rows" else "other classes"
    found = [
        f"Intervals: 95%, {unit}.",
        f"Dev and test tasks have {parts} than training. All methods answer by class texts and the model's own projections, and update on "
        f"the support of each task alike ({settings.test_steps} steps); weights are reset after each task.",
    ]
    if settings.budgets == "matched":
        found.append("Every method that trains looks at the same number of rows, up to rounding (column visits).")
    else:
        found.append(
            "Budgets are the paper's: 8 epochs over the rows of each task, so that MAMF and FOMAML look at more rows than classical."
        )
    if not settings.sweep:
        found.append("One learning rate for all methods, not swept: a method that needs another one looks worse than it is.")
    ablated = next((spot for spot in summary.grid() if spot.ways == settings.ablation_ways and spot.ways < spot.classes), None)
    if ablated is not None:
        found.append(
            f"{ablated.tasks} random tasks of {ablated.ways} of {ablated.classes} classes hold every class with probability "
            f"{ablated.covered:.3f}; a single class with {1 - (1 - ablated.ways / ablated.classes) ** ablated.tasks:.3f}."
        )
    tried = {spot.tasks for spot in summary.spots if spot.kind == "ablation"}
    small = [t for t in settings.ablation if tried and t not in tried and (ablated is None or t != ablated.tasks)]
    if small:
        found.append(f"Too small a budget for the ablation at T = {', '.join(map(str, small))}: not a row of each class for each task.")
    found.append("Slopes are over the configurations at hand; how another data set would lie is not in their intervals.")
    return [*found, *ran.notes]


def points(interval: Interval) -> str:
    """A difference of accuracies in points, `+1.2 points (95% interval +0.3 to +2.1)`."""
    said = f"{100 * interval.mean:+.1f} points"
    return said if interval.low != interval.low else f"{said} (95% interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def _says(interval: Interval) -> str:
    """Whether an interval says yes, no, or neither."""
    if interval.low != interval.low:
        return f"; fewer than {SEEDS} seeds cannot say how sure that is"
    return (
        ": yes"
        if interval.low > 0
        else ": no, it is the other way round"
        if interval.high < 0
        else ": not shown here, the interval holds 0"
    )
