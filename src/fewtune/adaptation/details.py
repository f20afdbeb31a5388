"""The details under the verdict: what was chosen, by which numbers, and what could not be known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewtune.learners.choice import Choice
from fewtune.learners.target import Target
from fewtune.recipes.default_learners import display_name
from fewtune.sides.route import FROZEN
from fewtune.statistics import Interval
from fewtune.words import counted


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% ({100 * interval.level:.0f}% interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"


def details(choice: Choice, target: Target, measured: Interval | None, sources: Sequence[str] = ()) -> tuple[str, ...]:
    """Plain sentences: what came of the `sources` (and what was left out of them), what was chosen, what to expect, what stays unknown."""
    said = list(sources[:1])
    if choice.expected is None:
        said.append(
            f"Every class has a single example, so nothing could be held out: the accuracy is unknown, and the learner, "
            f"{display_name(choice.name)}, was not chosen by your examples. Two or more examples a class would allow an estimate."
        )
    else:
        chosen = "Chosen" if any(c.name == FROZEN for c in choice.candidates) else "Chosen learner"
        said.append(f"{chosen}: {display_name(choice.name)}. Accuracy to expect on new examples like these: {_percent(choice.expected)}.")
        rivals = [c for c in choice.candidates if c.name != choice.name]
        own = next((c.accuracy for c in choice.candidates if c.name == choice.name), math.nan)
        if any(c.accuracy > own for c in rivals):
            said.append(
                "Others had more right here. It is taken all the same: it is the better bet by how sure its right answers are, or by "
                "other data, and so few examples cannot tell them apart."
            )
        near = [display_name(c.name) for c in rivals if not c.p < 0.05]
        if rivals and near:
            said.append(f"As good within chance: {', '.join(near)} (paired over held-out rows, adjusted p >= 0.05).")
        elif rivals and all(c.difference is not None and c.difference.mean > 0 for c in rivals):
            said.append("It beats every other learner on the same splits (paired over held-out rows, adjusted p < 0.05).")
    if (sampled := choice.splits.held_out) and sampled < len(target.support) - len(choice.unestimated):
        said.append(
            f"{sampled:,} of the {len(target.support):,} labelled rows were held out in turn, of each class its share; all others were "
            "learned from every time."
        )
    if choice.expected is not None and choice.unestimated:
        names = [target.class_names[c] for c in choice.unestimated]
        said.append(f"Not estimated, because they have a single example: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")
    if measured is not None:
        said.append(f"Measured once on the {len(target.test)} rows of the data's own test split: {_percent(measured)}.")
    elif len(target.tested):
        said.append("Nothing was measured on the data's own test split: none of its rows can be used.")
    said += target.about_test
    said += sources[1:]
    if target.left_out:
        name, reason = target.left_out[0]
        why = reason.removeprefix(f"{name} ").rstrip(".")
        said.append(f"{counted(len(target.left_out), 'row', ('was', 'were'))} left out, for example {name} ({why}).")
    return tuple(said)
