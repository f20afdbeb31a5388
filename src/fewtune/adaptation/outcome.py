"""What `adapt` finds out: one value that the terminal, the page, the model card and the JSON read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from fewtune.adaptation.finetuned import Finetuned
from fewtune.adaptation.verdict import Verdict
from fewtune.backbones.backbone import Backbone
from fewtune.learners.choice import Choice
from fewtune.learners.forecast import Forecast
from fewtune.learners.target import Target
from fewtune.learning.method import Method
from fewtune.models.bundle import Bundle
from fewtune.sides.clock import Clock, Stage
from fewtune.sources.outcome import SourceOutcome
from fewtune.statistics import Interval


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """An adapted model before it is saved, and all that was measured on the way.

    `choice`: the comparison of the learners (`choice.expected`: the accuracy to expect) on the features of `backbone`, which is the
    finetuned backbone where the guard kept it; `frozen`: the same comparison on the backbone as it came. `features` [N, D]: of the target's
    examples by `backbone`. `measured`: accuracy on the target's own test split, None where it has none. `finetuning`: every side that was
    tried, and what was shown of it. `methods`: the learners that were chosen from. `forecast`: what more labels would bring, None where the
    learning curve is too short. `verdict`: what everyone should read first; `details`: the sentences under it. `clock`: the budget, and the
    time that each part of the job took.
    """

    bundle: Bundle
    choice: Choice
    frozen: Choice
    target: Target
    features: Tensor
    measured: Interval | None
    verdict: Verdict
    details: tuple[str, ...]
    backbone: Backbone
    finetuned: bool
    finetuning: Finetuned
    methods: Mapping[str, Method]
    forecast: Forecast | None
    clock: Clock

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, then the details, in words."""
        return (*self.verdict.sentences, *self.details)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(self.clock.stages)

    @property
    def sources(self) -> SourceOutcome | None:
        """What came of the other labelled data, None where there was none."""
        return self.finetuning.sources

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the comparison of sides before its end."""
        return self.finetuning.stopped
