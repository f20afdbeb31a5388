"""A probe: how well a simple learner answers on the frozen features of a backbone, by rows that the probe has not learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.parts.heads import Logistic
from fewtune.pretraining.rows import Rows
from fewtune.statistics.intervals import wilson_interval
from fewtune.tasks.episodes import Episodes
from fewtune.words import counted


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """Logistic regression on the features of `fit`, judged by `judge` (both labelled 0..K-1); `told`: where the rows come from."""

    fit: Examples
    judge: Examples
    told: str

    @property
    def sentence(self) -> str:
        """What is measured, in words."""
        classes, learned, judged = len(self.fit.class_names), counted(len(self.fit), "row"), counted(len(self.judge), "row")
        return (
            f"The probe is a logistic regression on frozen features: it learns {classes} classes from {learned} and is judged by {judged} "
            f"({self.told}); guessing gets {100 / classes:.0f}%."
        )

    def accuracy(self, backbone: Backbone, weights: Mapping[str, Tensor]) -> float:
        """The share of rows answered rightly with these weights, in [0, 1]."""
        space = RowSpace([self.fit, self.judge])
        label = torch.from_numpy(self.fit.labels)[None], torch.from_numpy(self.judge.labels)[None]
        rows = torch.arange(len(space))[None]
        episode = Episodes(
            support=rows[:, : len(self.fit)],
            support_label=label[0],
            query=rows[:, len(self.fit) :],
            query_label=label[1],
            classes=torch.arange(len(self.fit.class_names))[None],
            task=torch.zeros(1, dtype=torch.int64),
        )
        with torch.no_grad():
            answers = respond(Ground(backbone, space), Logistic(), weights, episode, key(0)).logits.argmax(-1).cpu()
        return float((answers == label[1]).double().mean())

    def interval(self, accuracy: float) -> tuple[float, float]:
        """The accuracies that fit an observed one: 95%, by Wilson's score."""
        count = len(self.judge)
        found = wilson_interval(round(accuracy * count), count)
        return found.low, found.high


def probe_of(rows: Rows) -> Probe | None:
    """The probe that the rows of a collection allow, None where they are not labelled."""
    return None if rows.fit is None or rows.judge is None else Probe(rows.fit, rows.judge, rows.told)
