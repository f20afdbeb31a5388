"""What held-out classes of the sources say of finetuning: the rates that are tried, and the advice that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from torch import Tensor

from fewtune.backbones.edits import Edit
from fewtune.errors import InputError
from fewtune.learning.budget import each_phase
from fewtune.learning.engine import average
from fewtune.learning.method import Method
from fewtune.learning.phase import Step, phases_of
from fewtune.learning.train import Trained
from fewtune.parts.keep import Best
from fewtune.recipes.language import variants

RATES = (1e-4, 1e-3, 1e-2)
SHARES = (0.0, 1 / 3, 2 / 3, 1.0)
LOOKS = 3  # at the validation tasks in a run that tries a rate


@final
@dataclass(frozen=True, eq=False)
class Advice:
    """What held-out classes of some sources say of finetuning on them: the learning `rate` by its label, the `part` of the steps and the
    `share` of the way from the start to the end that are best.

    `tried`: accuracy by rate; `shares`: by share, whose 0 is the frozen backbone; `curve`: of the run at the best rate, a row a step. All
    empty where there is nothing to validate on.
    """

    rate: str
    part: float
    share: float
    tried: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[float, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()


def at_rates(recipe: str, rates: Sequence[float]) -> dict[str, Method]:
    """A recipe at every rate, by "lr=0.001"; under "" where its text names one. Raises InputError for what learns nothing from a source."""
    found = variants(recipe, (("lr", rates),))
    if not found[""].phases:
        raise InputError(f"{recipe!r} learns nothing from a source: expected a recipe such as multitask, standard or protonet.")
    return {label: m for label, m in found.items() if label} or found


def keeping_best(phases: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same phases, the last of which keeps its best weights on validation tasks."""
    last = list(phases_of(phases))[-1]
    return each_phase(phases, lambda p: replace(p, keep=Best(every=max(1, -(-p.steps // LOOKS)))) if p is last else p)


def part_way(start: Mapping[str, Tensor], trained: Trained, share: float, edits: tuple[Edit, ...]) -> dict[str, Tensor]:
    """The backbone's and edits' weights that moved, so that the edited ones are `share` of the way from the start to the end."""
    if share == 0:
        return {}
    ends = {n: trained.weights[n] for n in trained.moved if n in start}
    mixed = ends if share == 1 else average([start, {**start, **ends}], (1 - share, share), edits, start)
    return {n: t for n, t in mixed.items() if t is not start[n]}
