"""Choosing among frozen learners on the target's own support: every candidate answers the same repeated stratified splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.expected import SLOPE_REPEATS, chance_of, measured_slope, share_learned, single_rows
from fewtune.learners.folds import Splits, stratified_splits
from fewtune.learners.labelled import Labelled
from fewtune.learners.usual import usual_temperature
from fewtune.learning.method import Method
from fewtune.learning.on_features import answer_table
from fewtune.parts.heads import Blend
from fewtune.statistics import (
    USUAL_SLOPE,
    Interval,
    Slope,
    UsualTemperature,
    adjust_against_best,
    best_of_candidates,
    bootstrap_interval,
    expected_accuracy,
    fit_temperature,
    held_out_difference,
)

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

HELD_OUT_ANSWERS = 2_000  # more rows need fewer repeats: these only average out how the rows fell into folds
MOST_REPEATS = 10
CLEARLY = 0.95  # level of the interval by which another learner must beat the usual one


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """A candidate's held-out answers: `logits` [A, K] for the rows `item` [A] (positions in the support) of repeat `repeat` [A]."""

    logits: Tensor
    item: Integers

    def correct(self, labels: Integers, count: int) -> Floats:
        """Mean held-out correctness of each of `count` items, NaN where an item was never held out."""
        hit = (self.logits.argmax(-1).cpu().numpy() == labels[self.item]).astype(np.float64)
        times = np.bincount(self.item, minlength=count)
        with np.errstate(invalid="ignore"):
            return np.bincount(self.item, weights=hit, minlength=count) / times

    def temperature(self, labels: Integers, usual: UsualTemperature | None = None) -> float:
        """The temperature that calibrates these answers, which are few: `usual` is what is known of it before."""
        logits = self.logits.double().cpu().numpy()
        return fit_temperature(logits, labels[self.item], usual=usual, items=len(np.unique(self.item)))

    def losses(self, labels: Integers, count: int) -> Floats:
        """Mean held-out log-loss of each of `count` items, calibrated, NaN where an item was never held out."""
        logits = self.logits.double().cpu().numpy() / self.temperature(labels)
        loss = -log_softmax(logits, axis=1)[np.arange(len(logits)), labels[self.item]]
        with np.errstate(invalid="ignore"):
            return np.bincount(self.item, weights=loss, minlength=count) / np.bincount(self.item, minlength=count)


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """How one learner did on the held-out folds.

    `accuracy` in [0, 1], its `interval` a bootstrap over rows (None: nothing could be held out). `difference`: the chosen learner's
    accuracy minus this one's, None for the chosen one itself. `p`: of that difference, paired over rows (t test, corrected because the
    folds learn from rows that they share) and adjusted for having picked the best of several; NaN for the chosen one.
    """

    name: str
    method: Method
    accuracy: float
    interval: Interval | None
    difference: Interval | None
    p: float


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen learner and what is honestly known of it.

    `expected`: accuracy to expect of this learner fitted on all labelled rows, corrected for having chosen the best of several (None:
    nothing could be held out). `slope`: of its learning curve, by which held-out answers were carried on to all labelled rows.
    `recall` [K]: held-out recall of each class, NaN where the class has a single row. `temperature` divides the logits.
    `confusion` [K, K]: held-out answers, true by predicted, as mean counts over repeats. `answers`: those of the chosen learner, None
    where nothing could be held out.
    """

    name: str
    method: Method
    candidates: tuple[Candidate, ...]
    expected: Interval | None
    recall: Floats
    temperature: float
    confusion: Floats
    splits: Splits
    unestimated: tuple[int, ...]
    answers: Answers | None = None
    slope: Slope = USUAL_SLOPE


def choose_learner(
    candidates: Mapping[str, Method],
    labelled: Labelled,
    *,
    vectors: Callable[[Method], Tensor | None],
    fallback: str,
    prior: str | None = None,
    seed: int = 0,
    folds: int = 5,
) -> Choice:
    """The candidate with the best held-out accuracy on repeated splits of the labelled rows; ties go to the earlier one.

    `prior`: the candidate that is best on average over other data. It is taken unless another one is clearly better in held-out log-loss
    (95% interval of the paired differences over rows): a few dozen labels cannot tell several learners apart, and the best of them by
    chance is worse than the best on average. `vectors(method)` gives the class vectors [ways, D] that a method reads, or None. Where no
    class has two rows nothing can be held out, and `fallback` is taken as it is.
    """
    count, labels, ways = len(labelled), labelled.labels, labelled.ways
    repeats = int(np.clip(HELD_OUT_ANSWERS // max(count, 1), 1, MOST_REPEATS))
    splits = stratified_splits(labelled.rows, labels, ways, key(seed, "splits"), folds=folds, repeats=repeats)
    singles = tuple(np.flatnonzero(np.bincount(labels, minlength=ways) == 1).tolist())
    if splits.episodes is None:
        return _unknown(fallback, candidates[fallback], ways, splits, singles)
    known: dict[Method, Answers] = {}
    answered = {name: _answered(method, labelled, splits, vectors, known) for name, method in candidates.items()}
    fitted = {name: method for name, (method, _) in answered.items()}
    answers = {name: a for name, (_, a) in answered.items()}
    correct = {name: a.correct(labels, count) for name, a in answers.items()}
    losses = {} if prior is None else {name: a.losses(labels, count) for name, a in answers.items()}
    best = _best(correct) if prior is None else _unless_better(prior, losses, splits.folds)
    excess = 0.0 if best == prior or len(correct) == 1 else _excess(correct, best, labels, seed)
    chosen = answers[best]
    slope = _slope(fitted[best], labelled, splits, chosen, vectors, seed)
    return Choice(
        name=best,
        method=fitted[best],
        candidates=_compared(fitted, correct, best, splits.folds),
        expected=expected_accuracy(_known(correct[best]), share_learned(splits), chance_of(labels), slope, repeats=repeats, excess=excess),
        recall=per_class(correct[best], labels, ways),
        temperature=_temperature(fitted[best], chosen, labels, splits),
        confusion=confusion_of(chosen, labels, ways, repeats),
        splits=splits,
        unestimated=singles,
        answers=chosen,
        slope=slope,
    )


def _unknown(name: str, method: Method, ways: int, splits: Splits, singles: tuple[int, ...]) -> Choice:
    """The choice where nothing can be held out."""
    alone = Candidate(name, method, float("nan"), None, None, float("nan"))
    return Choice(name, method, (alone,), None, np.full(ways, np.nan), 1.0, np.zeros((ways, ways)), splits, singles)


def _best(correct: Mapping[str, Floats]) -> str:
    means = {name: float(np.nanmean(c)) for name, c in correct.items()}
    return max(means, key=lambda name: means[name])


def _unless_better(prior: str, losses: Mapping[str, Floats], folds: int) -> str:
    """`prior`, or the candidate that beats it most in log-loss, where that is clear (95% interval)."""
    ahead = {
        name: held_out_difference(_known(losses[prior] - loss), folds, level=CLEARLY)[0] for name, loss in losses.items() if name != prior
    }
    best = max(ahead, key=lambda name: ahead[name].mean, default=prior)
    return best if best != prior and ahead[best].low > 0 else prior


def _excess(correct: Mapping[str, Floats], best: str, labels: Integers, seed: int) -> float:
    """How much too high the held-out accuracy of the best is, because these answers chose it."""
    honest = best_of_candidates(np.stack(list(correct.values())), labels=labels, seed=seed).mean
    return max(0.0, float(np.nanmean(correct[best])) - honest)


def _slope(
    method: Method, labelled: Labelled, splits: Splits, answers: Answers, vectors: Callable[[Method], Tensor | None], seed: int
) -> Slope:
    """The slope of a method's learning curve, by its answers to the first of the splits."""
    part, labels, count = splits.first(SLOPE_REPEATS), labelled.labels, len(labelled)
    assert part.episodes is not None
    asked = int((part.episodes.query >= 0).sum())
    correct = Answers(answers.logits[:asked], answers.item[:asked]).correct(labels, count)

    def answer(fewer: Splits) -> Floats:
        return held_out_answers(method, labelled, fewer, vectors(method)).correct(labels, count)

    return measured_slope(part, correct, answer, chance_of(labels), seed)


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _answered(
    method: Method, labelled: Labelled, splits: Splits, vectors: Callable[[Method], Tensor | None], known: dict[Method, Answers]
) -> tuple[Method, Answers]:
    """A method and its held-out answers; the temperatures of a blend are chosen on these answers, each head's alone.

    Where folds learn from a single row of each class they are the blend's own: its Gaussian then has no covariance, and the scale of its
    logits says nothing of what it is with two rows (they were over-confident by 30 points on average). `known`: the answers so far, so that
    a head of a blend that is also a candidate is fitted once.
    """
    blend = method.learner
    if not isinstance(blend, Blend):
        if method not in known:
            known[method] = held_out_answers(method, labelled, splits, vectors(method))
        return method, known[method]
    parts = [_answered(Method(learner=head), labelled, splits, vectors, known)[1] for head in blend.heads]
    temperatures = blend.temperatures
    if usual_temperature(blend) is None or not single_rows(splits):
        temperatures = tuple(float(f"{part.temperature(labelled.labels):.3g}") for part in parts)
    logits = torch.stack([part.logits.double() / t for part, t in zip(parts, temperatures, strict=True)]).mean(0)
    return Method(learner=replace(blend, temperatures=temperatures)), Answers(logits, parts[0].item)


def _temperature(method: Method, answers: Answers, labels: Integers, splits: Splits) -> float:
    """The temperature of a method fitted on all labels: that of its held-out answers, or the usual one of a blend by single rows."""
    usual = usual_temperature(method.head)
    if usual is not None and isinstance(method.learner, Blend) and single_rows(splits):
        return usual.centre
    return answers.temperature(labels, usual)


def held_out_answers(method: Method, labelled: Labelled, splits: Splits, vectors: Tensor | None) -> Answers:
    """A method's answers to the held-out rows of `splits`, which are among the labelled ones."""
    assert splits.episodes is not None
    rows = labelled.rows
    place = np.zeros(int(rows.max()) + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    logits, item = [], []
    with torch.inference_mode():
        for part, answered in answer_table(method.head, labelled.features, splits.episodes, class_vectors=vectors):
            query = splits.episodes.query[part]
            inside = query >= 0
            logits.append(answered.cpu()[inside])
            item.append(query[inside].numpy())
    return Answers(torch.cat(logits), place[np.concatenate(item)])


def _compared(candidates: Mapping[str, Method], correct: Mapping[str, Floats], best: str, folds: int) -> tuple[Candidate, ...]:
    """Every candidate beside the best one: paired differences over items, p values adjusted for having picked the best."""
    held = ~np.isnan(correct[best])
    others = [name for name in candidates if name != best]
    against = {name: held_out_difference((correct[best] - correct[name])[held], folds) for name in others}
    adjusted = dict(zip(others, adjust_against_best([p for _, p in against.values()]).tolist(), strict=True))
    return tuple(
        Candidate(
            name,
            method,
            float(np.nanmean(correct[name])),
            bootstrap_interval(correct[name][held]),
            None if name == best else against[name][0],
            adjusted.get(name, float("nan")),
        )
        for name, method in candidates.items()
    )


def per_class(correct: Floats, labels: Integers, ways: int) -> Floats:
    held = ~np.isnan(correct)
    total = np.bincount(labels[held], minlength=ways)
    with np.errstate(invalid="ignore"):
        return np.bincount(labels[held], weights=correct[held], minlength=ways) / total


def confusion_of(answers: Answers, labels: Integers, ways: int, repeats: int) -> Floats:
    code = labels[answers.item] * ways + answers.logits.argmax(-1).numpy()
    return np.bincount(code, minlength=ways * ways).reshape(ways, ways) / repeats
