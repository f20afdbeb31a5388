"""What `adapt` finds out: one value that the terminal, the page, the model card and the JSON read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.learners.choice import Choice
from fewtune.learners.forecast import Forecast
from fewtune.learners.target import Target
from fewtune.models.bundle import Bundle
from fewtune.sources.clock import Stage
from fewtune.sources.outcome import SourceOutcome
from fewtune.statistics import Interval


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """An adapted model before it is saved, and all that was measured on the way.

    `choice`: the comparison of the learners (`choice.expected`: the accuracy to expect) on the features of `backbone`, which is the
    finetuned backbone where the guard kept it; `frozen`: the same comparison on the backbone as it came. `features` [N, D]: of the target's
    examples by `backbone`. `measured`: accuracy on the target's own test split, None where it has none. `sources`: what came of the other
    labelled data, None where there was none. `forecast`: what more labels would bring, None where the learning curve is too short.
    `sentences`: the verdict in words. `stages`: the time that each part of the job took.
    """

    bundle: Bundle
    choice: Choice
    frozen: Choice
    target: Target
    features: Tensor
    measured: Interval | None
    sentences: tuple[str, ...]
    backbone: Backbone
    sources: SourceOutcome | None
    forecast: Forecast | None
    stages: tuple[Stage, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    @property
    def finetuned(self) -> bool:
        """Whether the saved model uses a finetuned backbone."""
        return self.sources is not None and self.sources.kept
