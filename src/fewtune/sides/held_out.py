"""What a side answers to labelled examples while they are held out: in every fold it is made anew from the others alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.choice import Answers
from fewtune.learners.folds import Splits, stratified_splits
from fewtune.learners.target import Target
from fewtune.learning.method import Method
from fewtune.learning.on_features import answer_table
from fewtune.progress import stage
from fewtune.sides.progress import NOTHING, Finished
from fewtune.sides.route import Route
from fewtune.spec import text
from fewtune.statistics import fit_temperature
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

MANY_ROWS = 1_000


@final
@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out answers of one side: `logits` [R, N, K] to the N labelled rows in R repeats of the folds, NaN where a row was not held out.

    `labels` [N] in 0..K-1. `fold` [R, N]: the fold in which a row was held out, numbered over all repeats (None: not known).
    """

    logits: Floats
    labels: Integers
    fold: Integers | None = None

    @cached_property
    def temperature(self) -> float:
        """The temperature that calibrates all answers: that of the model that is saved."""
        repeat, item = self._answered
        return fit_temperature(self.logits[repeat, item], self.labels[item])

    @cached_property
    def log_probabilities(self) -> Floats:
        """Calibrated, [R, N, K]: the answers to a fold by the temperature that suits the answers to all rows outside it."""
        with np.errstate(invalid="ignore"):
            found: Floats = log_softmax(self.logits / self.temperatures[:, :, None], axis=2)
        return found

    @cached_property
    def temperatures(self) -> Floats:
        """Of every answer [R, N]: from the answers to all rows outside its fold; where folds are not known, that of all answers."""
        found = np.full(self.logits.shape[:2], np.nan)
        if self.fold is None:
            found[self._answered] = self.temperature
            return found
        repeat, item = self._answered
        for number in np.unique(self.fold[repeat, item]):
            inside = self.fold == number
            outside = ~inside.any(0)[item]
            found[inside] = fit_temperature(self.logits[repeat, item][outside], self.labels[item][outside])
        return found

    @property
    def correct(self) -> Floats:
        """Mean correctness of each row [N] over the repeats, NaN where it was never held out."""
        return self.answers.correct(self.labels, len(self.labels))

    @cached_property
    def answers(self) -> Answers:
        """The same, answer by answer."""
        repeat, item = self._answered
        return Answers(torch.from_numpy(self.logits[repeat, item]), item)

    @cached_property
    def _answered(self) -> tuple[Integers, Integers]:
        repeat, item = np.nonzero(~np.isnan(self.logits[:, :, 0]))
        return repeat, item


def mean_of(held: Sequence[HeldOut]) -> HeldOut:
    """The ensemble of some sides: the mean of their calibrated log-probabilities."""
    return HeldOut(np.mean([one.log_probabilities for one in held], axis=0), held[0].labels, held[0].fold)


def inner_folds(rows: int) -> int:
    """Folds to choose a learner by within a fold: 5, or 2 of more rows than 1,000, where fits take long and answers are many."""
    return 5 if rows <= MANY_ROWS else 2


def outer_splits(target: Target, seed: int, folds: int, repeats: int) -> Splits:
    """The folds that all sides answer: the target's labelled rows, stratified."""
    labels = target.labels[target.support]
    return stratified_splits(target.support, labels, len(target.class_names), key(seed, "guard"), folds=folds, repeats=repeats)


def held_out(
    route: Route, target: Target, methods: Mapping[str, Method], splits: Splits, seed: int, finished: Finished = NOTHING
) -> HeldOut:
    """The answers of a route: in every fold the side is made from the training rows alone, and answers the fold.

    `methods`: the learners to choose from where the route has none of its own. A chosen learner's logits are divided by the temperature
    that was chosen with it. `finished`: where answers are kept, so that a stopped comparison can go on. Raises what the route raises.
    """
    assert splits.episodes is not None
    rows, names = target.support, target.class_names
    labels = target.labels[rows]
    place = np.zeros(int(rows.max()) + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    logits = np.full((int(splits.repeat.max()) + 1, len(rows), len(names)), np.nan)
    fold = np.full(logits.shape[:2], -1, dtype=np.int64)
    learners = {name: text(method) for name, method in methods.items()}
    known = f"{target.digest} {names} {labels.tolist()} {learners} {seed}"  # all that an answer depends on beside the side and the fold
    count, began, made = len(splits.repeat), time.monotonic(), 0
    for e, repeat in enumerate(splits.repeat.tolist()):
        train, held = (t[e][t[e] >= 0].numpy() for t in (splits.episodes.support, splits.episodes.query))
        what = f"{route.key} {known} {train.tolist()} {held.tolist()}"
        answered = finished.find(what)
        if answered is None or answered.shape != (len(held), len(names)):
            left = f", about {(count - e) * (time.monotonic() - began) / made:.0f} s left" if made else ""
            with stage(f"judging: {route.name}, run {e + 1} of {count}{left}"):
                answered = _answer(route, methods, names, splits.episodes[e : e + 1], labels[place[train]], seed)
            made += 1
            finished.keep(what, answered)
        logits[repeat, place[held]], fold[repeat, place[held]] = answered.numpy(), e
    return HeldOut(logits, labels, fold)


def _answer(route: Route, methods: Mapping[str, Method], names: Sequence[str], episode: Episodes, labels: Integers, seed: int) -> Tensor:
    """Logits [Q, K] of the queries of one fold; `labels`: of its support rows."""
    train = episode.support[0][episode.support[0] >= 0].numpy()
    asked = int((episode.query[0] >= 0).sum())
    side = route.make(train).side
    method, temperature = route.learner, 1.0
    if method is None:
        choice = side.choose(methods, train, labels, names, seed, folds=inner_folds(len(train)))
        method, temperature = choice.method, choice.temperature
    [(_, answered)] = answer_table(method.head, side.features, episode, side.vectors(method, names))
    return answered[0, :asked].double().cpu() / temperature  # padding comes last
