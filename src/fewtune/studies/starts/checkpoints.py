"""Which checkpoint: final accuracy and speed of finetuning downstream, against the step of pretraining at which it starts.

Reference: Neyshabur, Sedghi, Zhang, "What is being transferred in transfer learning?", NeurIPS 2020, section 3.4 (one can start from early
checkpoints without a loss of final accuracy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fewtune.backbones.places import RUN, steps_in
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone
from fewtune.statistics.intervals import Interval
from fewtune.studies.starts.curves import StartCurves, start_curves
from fewtune.studies.starts.finetuning import Finetuning
from fewtune.transfer import Convergence, RankTrend, rank_trend


@final
@dataclass(frozen=True, eq=False)
class CheckpointCurves:
    """`found`: the curves, whose starts are the `steps` of pretraining in words."""

    steps: tuple[int, ...]
    found: StartCurves

    def convergence(self, **how: Any) -> dict[int, Convergence]:
        """Final accuracy and speed downstream, by the step of pretraining."""
        return {step: self.found.convergence(str(step), **how) for step in self.steps}

    def behind(self) -> dict[int, Interval]:
        """By how much each checkpoint ends above the last one, paired over rows; below 0 where it is worse."""
        return {step: self.found.gain(str(step), str(self.steps[-1])) for step in self.steps[:-1]}

    def enough(self, margin: float = 0.01) -> int:
        """The first checkpoint that is shown to end at most `margin` below the last one; the last one where none is."""
        return next((step for step, gain in self.behind().items() if gain.low > -margin), self.steps[-1])

    def trends(self, **how: Any) -> tuple[RankTrend, RankTrend]:
        """Whether final accuracy rises, and whether the steps to convergence rise, with the step of pretraining."""
        found = self.convergence(**how)
        return tuple(rank_trend(self.steps, [getattr(c, part).mean for c in found.values()]) for part in ("final", "steps"))  # type: ignore[return-value]


def checkpoint_curves(
    run: Path,
    train: Examples,
    test: Examples,
    settings: Finetuning,
    *,
    steps: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    lines: Path | None = None,
    machine: Machine | None = None,
) -> CheckpointCurves:
    """Finetune every checkpoint of a pretraining run (or those of `steps`) on `train`, alike, and answer `test` on the way.

    `seeds` and `lines`: as in `start_curves`. Raises InputError for a run with fewer than two checkpoints, and for a step that it does not
    keep.
    """
    if not run.is_dir():
        raise InputError(f"{run} does not exist: expected the folder of a pretraining run.")
    kept = tuple(sorted(steps)) or tuple(steps_in(run))
    if len(kept) < 2:
        raise InputError(f"{run} has {len(kept)} of the checkpoints asked for: expected two or more of a pretraining run, to compare them.")
    starts = {str(step): load_backbone(f"{RUN}{run},step={step}", machine=machine) for step in kept}
    return CheckpointCurves(kept, start_curves(starts, train, test, settings, seeds=seeds, lines=lines))
