"""Finetuned: what came of finetuning, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.adaptation.frozen import FrozenModel
from fewtune.learners.folds import Splits
from fewtune.sides.compared import Compared
from fewtune.sides.guard import Guard
from fewtune.sides.route import FROZEN, Route
from fewtune.sources.outcome import SourceOutcome


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """What came of finetuning. `frozen`: the model that it started from. `compared`: all sides on the target's held-out examples, None
    where none could be judged so. `routes`: by side. `sources`: what came of other data. `notes`: what was not tried and why, a sentence
    each. `splits`: the folds that the sides were judged by. `stopped`: whether the user stopped the work.
    """

    frozen: FrozenModel
    compared: Compared | None
    routes: Mapping[str, Route]
    sources: SourceOutcome | None
    notes: tuple[str, ...]
    splits: Splits | None
    stopped: bool = False

    @property
    def guard(self) -> Guard | None:
        """The comparison that decided: of the side that is kept, else of the one that came nearest to it."""
        if self.compared is not None:
            return self.compared.guard(self.compared.gain.side if self.compared.kept == FROZEN else self.compared.kept)
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


def said_of(compared: Compared, routes: Mapping[str, Route]) -> str:
    """What the comparison found, in a sentence."""
    kept = compared.kept != FROZEN
    name = compared.kept if kept else compared.gain.side
    guard, members = compared.guard(name), compared.members[name]
    what = f"the model {routes[members[0]].said}" if len(members) == 1 else _mean_of(members, compared.weights(name), routes)
    numbers = (
        f"{what} has {100 * guard.finetuned:.1f}% right against {100 * guard.frozen:.1f}% of the best frozen learner on your labelled "
        f"examples (each answered by models that never saw it)"
    )
    saved = "that one" if len(members) == 1 else "that mean, which takes as long as its parts to answer"
    if kept and compared.shown:
        return f"Finetuning helped: {numbers}: with 95% confidence it is better. The saved model is {saved}."
    if kept:
        return f"Finetuning probably helps: {numbers}. That may be chance, but it is the better bet. The saved model is {saved}."
    ways = "" if len(compared.rivals) == 1 else f"of {len(compared.rivals)} ways to use it, the most certain, "
    return f"Finetuning was not shown to help: {ways}{numbers}, which may be chance. The saved model is the frozen one."
