"""Finetuned: what came of finetuning, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from fewtune.adaptation.frozen import FrozenModel
from fewtune.learners.folds import Splits
from fewtune.sides.compared import Compared
from fewtune.sides.guard import Guard
from fewtune.sides.route import FROZEN, Route
from fewtune.sources.outcome import SourceOutcome

GO_ON = "The same command with --resume (and --overwrite) goes on from there."


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """What came of finetuning. `frozen`: the model that it started from. `compared`: all sides on the target's held-out examples, None
    where none could be judged so. `routes`: by side. `sources`: what came of other data. `notes`: what was not tried and why, a sentence
    each. `splits`: the folds that the sides were judged by. `stopped`: whether the user stopped the work; `stopped_while_made`: while the
    model was made from all labelled examples. `remarks`: what is said last, after everything that was decided.
    """

    frozen: FrozenModel
    compared: Compared | None
    routes: Mapping[str, Route]
    sources: SourceOutcome | None
    notes: tuple[str, ...]
    splits: Splits | None
    stopped: bool = False
    stopped_while_made: bool = False
    remarks: tuple[str, ...] = ()

    def without(self, sides: Iterable[str], why: str) -> Finetuned:
        """The same where these sides cannot be saved."""
        return self if self.compared is None else replace(self, compared=self.compared.without(sides, why))

    def stop(self, what: str) -> Finetuned:
        """The same where the user stopped the work, and `what` is left out."""
        return replace(self, stopped=True, notes=(*self.notes, f"You stopped the work: {what}. {GO_ON}"))

    def stop_making(self) -> Finetuned:
        """The same where the user stopped the work while the model was made: only sides that were made already can be saved."""
        unmade = [name for name, route in self.routes.items() if not route.made and name != FROZEN]
        left = self.without(unmade, "you stopped the work")
        return replace(left.stop("the saved model is the best of those that were made by then"), stopped_while_made=True)

    @property
    def guard(self) -> Guard | None:
        """The comparison that decided: of the side that is kept, else of the one that came nearest to it."""
        if self.compared is not None:
            return self.compared.guard(told(self.compared))
        return None if self.sources is None else self.sources.guard

    @property
    def why(self) -> str:
        """What was decided, in a sentence; empty where nothing was tried."""
        if self.compared is not None:
            return said_of(self.compared, self.routes)
        if self.sources is not None and self.sources.why:
            return self.sources.why
        return self.notes[0] if self.notes else ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The decision first, then what was not tried or left out."""
        if not self.why:
            return ()
        more = [note for note in self.notes if note != self.why]
        used = self.sources
        if used is not None:
            more += [used.why] if used.why not in ("", self.why) else []
            more += used.notes
        return (self.why, *more)

    def facts(self) -> dict[str, Any]:
        """What the bundle's record says of every side."""
        compared = self.compared
        assert compared is not None
        said = {FROZEN: {"accuracy": float(np.nanmean(compared.held[FROZEN].correct))}}
        for name in compared.rivals:
            guard = compared.guard(name)
            said[name] = {"accuracy": guard.finetuned, "gain": guard.gain.mean, "gain_above": guard.gain.low}
        return {"kept": compared.kept, "shown": compared.shown, "sides": said, "rows": compared.gain.rows, "p": compared.gain.p}


def _mean_of(members: Sequence[str], weights: Sequence[float], routes: Mapping[str, Route]) -> str:
    """An ensemble in words, with the weights of its members where they differ."""
    said = ["the frozen model" if one == FROZEN else f"the one {routes[one].said}" for one in members]
    if len(set(weights)) > 1:
        said = [f"{one} ({100 * weight:.0f}%)" for one, weight in zip(said, weights, strict=True)]
    return f"the mean of {' and '.join(said)}"


def told(compared: Compared) -> str:
    """The rival that the verdict is about: the one that is kept, else the best one, which was lost, else the most certain one."""
    return next(name for name in (compared.kept, compared.best, compared.gain.side) if name != FROZEN)


def said_of(compared: Compared, routes: Mapping[str, Route]) -> str:
    """What the comparison found, in a sentence."""
    name = told(compared)
    guard, single = compared.guard(name), len(compared.members[name]) == 1
    numbers = (
        f"{_described(name, compared, routes)} has {100 * guard.finetuned:.1f}% right against {100 * guard.frozen:.1f}% of the best frozen "
        f"learner on your labelled examples (each answered by models that never saw it)"
    )
    if name != compared.best and compared.kept == FROZEN:
        ways = "" if len(compared.rivals) == 1 else f"of {len(compared.rivals)} ways to use it, the most certain, "
        return f"Finetuning was not shown to help: {ways}{numbers}, which may be chance. The saved model is the frozen one."
    proved = name in compared.proved
    doubt = ": with 95% confidence it is better" if proved else ". That may be chance, but it is the better bet"
    saved = "that one" if single else "that mean, which takes as long as its parts to answer"
    if compared.kept == FROZEN:
        saved = "the frozen one"
    if compared.why_lost:
        best = "it" if name == compared.best else _described(compared.best, compared, routes)
        saved += f", because {best} could not be made from all your labelled examples ({compared.why_lost})"
    helped = "Finetuning helped" if proved else "Finetuning probably helps"
    return f"{helped}: {numbers}{doubt}. The saved model is {saved}."


def _described(name: str, compared: Compared, routes: Mapping[str, Route]) -> str:
    """A rival in words."""
    members = compared.members[name]
    return f"the model {routes[members[0]].said}" if len(members) == 1 else _mean_of(members, compared.weights(name), routes)
