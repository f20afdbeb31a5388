"""The model to save: the frozen side, a finetuned one, or an ensemble, made from all labelled examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from fewtune.adaptation.finetuned import Finetuned
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.beside import beside
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.learners.choice import Candidate, Choice, confusion_of, per_class
from fewtune.learners.expected import chance_of, share_learned
from fewtune.learners.folds import Splits
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.learning.method import Method
from fewtune.models.finetuned_weights import Change, Members
from fewtune.parts.heads import Ensemble
from fewtune.sides.compared import Compared
from fewtune.sides.guard import FOLDS
from fewtune.sides.held_out import HeldOut
from fewtune.sides.route import FROZEN, Made, side_of
from fewtune.statistics import Interval, adjust_against_best, best_of_candidates, bootstrap_interval, expected_accuracy, held_out_difference
from fewtune.stopping import Stopped


@final
@dataclass(frozen=True, eq=False)
class Kept:
    """`side`: with the features of the target's labelled rows, and of its test rows. `choice`: what answers on it, and what to expect.
    `moved`: what was done to the backbone. `labels_moved`: whether finetuning saw the labels themselves.
    """

    side: Side
    choice: Choice
    moved: Change | None = None
    labels_moved: bool = False


@final
class _LostError(Exception):
    """A side could not be made from all labelled examples."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(why)
        self.side, self.why = side, why


def best_that_can_be_made(finetuned: Finetuned, how: AdaptSettings) -> tuple[Kept, Finetuned]:
    """The model to save: where the last run of a side, on all labelled examples, fails or is stopped, the next best one, and in the end the
    frozen one. With what came of finetuning, which says so.
    """
    while True:
        try:
            return kept_model(finetuned, how), finetuned
        except _LostError as lost:
            finetuned = finetuned.without([lost.side], lost.why)
        except Stopped:
            if finetuned.stopped_while_made:
                raise
            finetuned = finetuned.stop_making()


def kept_model(finetuned: Finetuned, how: AdaptSettings) -> Kept:
    """What the comparison says to keep, made from all labelled examples."""
    used, compared, frozen = finetuned.sources, finetuned.compared, finetuned.frozen
    target, choice = frozen.target, frozen.choice
    if compared is not None and compared.kept != FROZEN:
        parts = [_part(name, finetuned, compared, how) for name in compared.members_kept]
        made = parts[0] if len(parts) == 1 else _ensemble(parts, compared)
        return replace(made, side=_with_test_rows(made.side, target), choice=_judged(made.choice, compared, target, finetuned))
    if used is not None and used.kept and used.after is not None and used.guard is not None:
        after = frozen.choose(used.after, how, used.guard.advised)
        return Kept(_with_test_rows(used.after, target), after, used.moved)
    if choice.expected is None and used is not None and used.best is not None:
        choice = frozen.choose(frozen.side, how, used.best.name)
    return Kept(frozen.side, choice)


def _part(name: str, finetuned: Finetuned, compared: Compared, how: AdaptSettings) -> Kept:
    """One side, made from all labelled examples."""
    frozen, route, calibrated = finetuned.frozen, finetuned.routes[name], compared.held[name].temperature
    try:
        made: Made = route.make(frozen.target.support)
    except (Diverged, InputError) as problem:
        raise _LostError(name, str(problem).rstrip(".")) from None
    if route.learner is None:  # the judged answers were divided by the temperature that was chosen with the learner, too
        choice = frozen.choice if name == FROZEN else frozen.choose(made.side, how)
        return Kept(made.side, replace(choice, temperature=choice.temperature * calibrated), made.moved)
    fixed = replace(frozen.choice, name=name, method=route.learner, temperature=calibrated)
    return Kept(made.side, fixed, made.moved, labels_moved=True)


def _ensemble(parts: list[Kept], compared: Compared) -> Kept:
    """Sides next to each other, each with its own head. A head divides its logits by M w times its temperature, so that the mean over the M
    heads weighs it by w."""
    heads = tuple(part.choice.method.head for part in parts)
    weights = compared.weights(compared.kept)
    temperatures = tuple(float(f"{p.choice.temperature / (len(parts) * w):.4g}") for p, w in zip(parts, weights, strict=True))
    method = Method(learner=Ensemble(heads=heads, temperatures=temperatures))
    side = Side(beside([part.side.backbone for part in parts]), torch.cat([part.side.features for part in parts], dim=1))
    changes = tuple(part.moved for part in parts if not isinstance(part.moved, Members))
    assert len(changes) == len(parts)  # an ensemble has no ensembles in it
    moved = Members(parts=changes)
    choice = replace(parts[0].choice, method=method, temperature=compared.rivals[compared.kept].temperature)
    return Kept(side, choice, moved, any(part.labels_moved for part in parts))


def _judged(choice: Choice, compared: Compared, target: Target, finetuned: Finetuned) -> Choice:
    """The choice with what the held-out answers say of the side that is kept."""
    held, labels, ways = compared.rivals[compared.kept], target.labels[target.support], len(target.class_names)
    splits = finetuned.splits
    assert splits is not None
    return replace(
        choice,
        name=compared.kept,
        candidates=_candidates(choice, compared),
        expected=_expected(choice, held, compared, labels, splits),
        recall=per_class(held.correct, labels, ways),
        confusion=confusion_of(held.answers, labels, ways, len(held.logits)),
        splits=splits,
        answers=held.answers,
    )


def _expected(choice: Choice, held: HeldOut, compared: Compared, labels: Integers, splits: Splits) -> Interval:
    """The accuracy to expect of the side that is kept: its held-out answers, less what having been the best of several flatters them, and
    carried on from the folds' part of the labels to all of them along the learning curve of the frozen learner.

    After finetuning the interval counts that one run differs from the next.
    """
    sides = [compared.held[FROZEN].correct, *(rival.correct for rival in compared.rivals.values())]
    judged = ~np.isnan(np.stack(sides)).any(0)
    correct = held.correct[judged]
    every = np.stack([side[judged] for side in sides])
    excess = max(0.0, float(every.mean(1).max()) - best_of_candidates(every, labels=labels[judged]).mean)
    repeats = len(held.logits)
    runs = 0 if compared.kept == FROZEN else repeats * splits.folds
    share, chance = share_learned(splits), chance_of(labels)
    return expected_accuracy(correct, share, chance, choice.slope, repeats=repeats, excess=excess, runs=runs)


def _candidates(choice: Choice, compared: Compared) -> tuple[Candidate, ...]:
    """Every side beside the one that is kept; p values are adjusted for their number."""
    sides = {FROZEN: compared.held[FROZEN].correct, **{name: rival.correct for name, rival in compared.rivals.items()}}
    kept = sides[compared.kept]
    known = {name: ~np.isnan(correct) & ~np.isnan(kept) for name, correct in sides.items()}
    against = {name: held_out_difference((kept - correct)[known[name]], FOLDS) for name, correct in sides.items() if name != compared.kept}
    others = [name for name in against if name != FROZEN]
    p = dict(zip(others, adjust_against_best([against[name][1] for name in others]).tolist(), strict=True))
    p[FROZEN] = compared.gain_of(compared.kept).p  # of the test that counts all rivals
    return tuple(
        Candidate(
            name,
            choice.method,
            float(np.nanmean(correct)),
            bootstrap_interval(correct[known[name]]),
            against[name][0] if name in against else None,
            p.get(name, float("nan")),
        )
        for name, correct in sides.items()
    )


def _with_test_rows(side: Side, target: Target) -> Side:
    """The side with the target's test rows too, which a finetuned backbone looks at only once it is kept."""
    if not len(target.test):
        return side
    features = side.features.clone()
    features[torch.from_numpy(target.test)] = side_of(side.backbone, RowSpace([target.examples]), target.test).features[
        torch.from_numpy(target.test)
    ]
    return Side(side.backbone, features)
