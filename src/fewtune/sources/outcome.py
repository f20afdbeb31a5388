"""SourceOutcome: what came of the other labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fewtune.learners.side import Side
from fewtune.models.finetuned_weights import Moved
from fewtune.sides.clock import Clock
from fewtune.sides.guard import LEAST_CLASSES, OWN, Guard
from fewtune.sides.route import Route
from fewtune.sources.finetune import Finetuned, Finetuner
from fewtune.sources.single import BestLearner
from fewtune.sources.source_rows import SourceRows
from fewtune.spec import text
from fewtune.tasks.selection import Trace
from fewtune.tasks.task import Tasks
from fewtune.words import counted


@final
@dataclass(frozen=True, eq=False)
class SourceOutcome:
    """What came of the sources. `tuned` and `guard` are None where it did not come so far; `why` says in a sentence what was decided.

    `route`: the way to the finetuned side, where the target's own labels are to judge it; `guard` is then None, `why` empty, and
    `related` says how the side did on classes of the sources that nothing was learned from, where there are some.

    `trace`: every candidate task and what was decided of it. `tuner`: what finetunes on any tasks of the sources, alike. `after`: the
    target's labelled rows by the finetuned backbone. `best`: the learner that answers best on classes of the sources, where the target has
    one example a class; None elsewhere.
    """

    source_rows: SourceRows
    candidates: Tasks
    trace: Trace
    tuner: Finetuner
    tuned: Finetuned | None
    guard: Guard | None
    after: Side | None
    clock: Clock
    spent: int
    why: str
    route: Route | None = None
    related: Guard | None = None
    best: BestLearner | None = None

    @property
    def kept(self) -> bool:
        """Whether the finetuned backbone is used."""
        return self.guard is not None and self.guard.kept

    @property
    def moved(self) -> Moved | None:
        """The weights that finetuning moved, where they are used."""
        return self.tuned.moved if self.kept and self.tuned is not None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Which learner they chose, and what was left out of the sources and of the finetuning, a sentence each."""
        chosen = () if self.best is None or self.kept else (self.best.said,)
        return (*chosen, *self.left_out)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out of the sources and of the finetuning, a sentence each."""
        return self.source_rows.notes if self.tuned is None else (*self.source_rows.notes, *self.tuned.notes)

    def facts(self) -> dict[str, Any]:
        """What a model card says of the sources."""
        space, tuned, guard = self.source_rows.space, self.tuned, self.guard
        said: dict[str, Any] = {
            "data": {s.name: f"{len(s):,} rows of {len(np.unique(s.labels)):,} classes, digest {s.digest()}" for s in space.sources},
            "left out": list(self.left_out),
            "chosen tasks": [self.candidates.names[i] for i in self.trace.taken],
            "budget": f"{self.spent:,} rows looked at in training",
            **({"decision": self.why} if self.why else {}),
        }
        if tuned is not None:
            said["finetuning"] = (
                f"{text(tuned.method)}, {counted(tuned.steps, 'step')}, {100 * tuned.advice.share:.0f}% of the way from the start"
            )
        if guard is not None:
            said["guard"] = f"{guard.where}: gain {guard.gain.mean:.4f}, lower bound {guard.gain.low:.4f}"
        return said


def said_of(guard: Guard, tuned: Finetuned) -> str:
    """What the guard found, in a sentence."""
    of = "each answered by models that never saw it" if guard.where == OWN else "none of them was used in training"
    doubt = "which may be chance"
    if guard.too_few:
        doubt = f"but there are too few classes to judge by ({len(guard.differences)}; at least {LEAST_CLASSES} are needed)"
    numbers = (
        f"{100 * guard.finetuned:.1f}% right against {100 * guard.frozen:.1f}% of the best frozen learner on {guard.where} ({of}): "
        f"{100 * guard.gain.mean:+.1f} points, " + (f"with 95% confidence more than {100 * guard.gain.low:.1f}" if guard.kept else doubt)
    )
    learned = f"Finetuning on {counted(len(tuned.tasks), 'task')} of the sources"
    if guard.kept:
        return f"{learned} helped: {numbers}. The saved model is the finetuned one."
    return f"{learned} was not shown to help: {numbers}. The saved model is the frozen one."
