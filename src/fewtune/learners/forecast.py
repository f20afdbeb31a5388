"""How many labels would help: a learning curve within the labels at hand, a power law through it, and what it says of more of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.choice import HELD_OUT_ANSWERS, held_out_answers
from fewtune.learners.folds import random_order, stratified_splits, with_fewer
from fewtune.learners.labelled import Labelled
from fewtune.learning.method import Method
from fewtune.statistics import FittedPowerLaw, Interval, bootstrap_power_law, wilson_interval
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

LEAST_SIZES = 3  # the law has three unknowns
MOST_REPEATS = 5
TIMES = (2, 4)  # how many times the labels at hand is looked ahead
VAGUE = 0.4  # an interval of accuracy wider than this tells nothing
WIDER = 1.5
"""How much further the bounds of what is forecast lie than the bootstrap over rows has them.

It resamples the rows that are answered, takes those that were learned from as given, and takes the curve for a power law. On real
features (two sets of texts, three of images; nearest centroids and logistic regression; 5, 8 and 16 labels a class; 240 curves) its 95%
intervals held the accuracy measured with twice and four times the labels in 78 to 90% of cases; half as wide again, in 91 to 97%.
"""


@final
@dataclass(frozen=True, eq=False)
class Forecast:
    """A learning curve and what it says of more labels. Accuracies are in [0, 1].

    `shots` [S]: training rows a class, the mean over classes. `accuracy`, `low`, `high` [S]: held out, with 95% bootstrap bounds over rows.
    `law`: of the error. `ahead`: (labels a class, the accuracy to expect there) for twice and four times the labels at hand. `grid` [G],
    `curve`, `curve_low` and `curve_high`: the law from the first size to the farthest one. `sentence`: in words. Bounds of `ahead` and
    of the curve are wider than the law's own (see WIDER).
    """

    shots: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    law: FittedPowerLaw
    ahead: tuple[tuple[float, Interval], ...]
    grid: Floats
    curve: Floats
    curve_low: Floats
    curve_high: Floats
    sentence: str


def forecast(
    method: Method,
    labelled: Labelled,
    *,
    vectors: Callable[[Method], Tensor | None],
    seed: int = 0,
    folds: int = 5,
) -> Forecast | None:
    """The learning curve of a method on its own support, carried on to twice and four times the labels; None where it is too short.

    The folds of repeated splits of the labelled rows are answered from 1, 2, 4, ... training rows a class and from all of them;
    classes with fewer keep what they have, and what a size holds is in the next one too. `vectors(method)` gives
    class vectors. None if there are fewer than three sizes, or nothing is held out.
    It is an extrapolation: it holds as far as the curve goes on as a power law and new labels are like these. The curve of a learner
    that was chosen on the same rows lies a little high.
    """
    rows, labels, ways = labelled.rows, labelled.labels, labelled.ways
    count = len(rows)
    repeats = int(np.clip(HELD_OUT_ANSWERS // max(count, 1), 1, MOST_REPEATS))
    splits = stratified_splits(rows, labels, ways, key(seed, "forecast"), folds=folds, repeats=repeats)
    if splits.episodes is None:
        return None
    cuts = _sizes(splits.episodes)
    if len(cuts) < LEAST_SIZES:
        return None
    order = random_order(splits.episodes, key(seed, "forecast", "order"))
    shots, errors = [], []
    for cut in cuts:
        smaller = with_fewer(splits, order, cut)
        assert smaller.episodes is not None
        shots.append(float((smaller.episodes.support >= 0).sum()) / len(smaller.episodes) / ways)
        errors.append(1 - held_out_answers(method, labelled, smaller, vectors(method)).correct(labels, count))
    wrong = np.stack(errors, axis=1)
    held = ~np.isnan(wrong[:, 0])
    law = bootstrap_power_law(shots, wrong[held], strata=labels[held], seed=key(seed, "forecast", "bootstrap").value)
    return _told(np.array(shots), wrong[held], labels[held], law, count / ways)


def _sizes(episodes: Episodes) -> list[int]:
    """1, 2, 4, ... rows a class below the largest class of any training fold, and that."""
    most = max(int(torch.bincount(label[label >= 0]).max()) for label in episodes.support_label)
    sizes = [1 << i for i in range(most.bit_length()) if 1 << i < most]
    if len(sizes) > 2 and most < 1.25 * sizes[-1]:  # two sizes that near say the same
        sizes.pop()
    return [*sizes, most]


def _told(shots: Floats, wrong: Floats, labels: Integers, law: FittedPowerLaw, now: float) -> Forecast:
    accuracy, low, high, gain = _measured(wrong, labels)
    ahead = tuple((times * now, _accuracy(law.at(times * now))) for times in TIMES)
    grid = np.geomspace(shots[0], TIMES[-1] * now, 40)
    curve = [_accuracy(law.at(float(n))) for n in grid]
    return Forecast(
        shots=shots,
        accuracy=accuracy,
        low=low,
        high=high,
        law=law,
        ahead=ahead,
        grid=grid,
        curve=np.array([c.mean for c in curve]),
        curve_low=np.array([c.low for c in curve]),
        curve_high=np.array([c.high for c in curve]),
        sentence=_sentence(shots, float(accuracy[-1]), gain, ahead),
    )


def _measured(wrong: Floats, labels: Integers) -> tuple[Floats, Floats, Floats, float]:
    """(accuracy [S], its bounds, the least gain from the first size to the last that resampled rows leave likely)."""
    right = 1 - wrong
    random = np.random.default_rng(0)
    times = np.zeros((1000, len(right)))
    for c in np.unique(labels):
        mine = np.flatnonzero(labels == c)
        times[:, mine] = random.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), 1000)
    resampled = times @ right / len(right)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return right.mean(0), low, high, float(np.quantile(resampled[:, -1] - resampled[:, 0], 0.025))


def _accuracy(error: Interval) -> Interval:
    """1 - error within [0, 1], with the wider bounds; never surer than of a proportion measured on as many rows (ten right of ten)."""
    right = float(np.clip(1 - error.mean, 0, 1))
    least = wilson_interval(right * error.n, error.n, error.level)
    low, high = right - WIDER * (error.high - error.mean), right + WIDER * (error.mean - error.low)
    return replace(error, mean=right, low=max(0.0, min(low, least.low)), high=min(1.0, max(high, least.high)))


def _sentence(shots: Floats, now: float, gain: float, ahead: tuple[tuple[float, Interval], ...]) -> str:
    curve = f"the learning curve over {shots[0]:.3g} to {shots[-1]:.3g} labels a class"
    if gain <= 0:
        return (
            f"More labels may not help: {curve} is flat within its noise ({100 * now:.0f}% at its end), so nothing can be forecast from it."
        )
    (twice, near), (fourfold, far) = ahead
    if near.high - near.low > VAGUE:
        return (
            f"How much more labels would help cannot be told: with twice the labels ({twice:.3g} a class) the accuracy may be "
            f"anything from {100 * near.low:.0f} to {100 * near.high:.0f}%, because {curve} is too short or too noisy."
        )
    return (
        f"With twice the labels ({twice:.3g} a class) expect about {_percent(near)}, with four times ({fourfold:.3g} a class) "
        f"{_percent(far)}: an extrapolation of {curve}, for labels like these."
    )


def _percent(accuracy: Interval) -> str:
    return f"{100 * accuracy.mean:.0f}% ({100 * accuracy.low:.0f} to {100 * accuracy.high:.0f})"
