"""Classes of the sources that nothing is learned from: episodes like the target's on them say what finetuned weights are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.parts.heads import Centroid
from fewtune.sources.roles import Part
from fewtune.sources.source_rows import SourceRows
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.fit import fitted
from fewtune.tasks.samplers import Sampled

EPISODES = 40  # a source


@final
@dataclass(frozen=True, eq=False)
class HeldOutClasses:
    """Of `source_rows`. `ways`, `shots`: of an episode, as the target has them. `seed`: of the draws."""

    source_rows: SourceRows
    ways: int
    shots: int
    seed: int = 0

    def accuracy(self, ground: Ground, weights: Mapping[str, Tensor], sources: Sequence[str]) -> float:
        """Mean accuracy of nearest centroids on the validation tasks of some sources, each weighing the same."""
        batches = self.validation(sources)
        known = {n: t for n, t in weights.items() if n in ground.names}
        scores = score_each(ground, Centroid(), known, batches)
        return float(np.mean([s.accuracy.mean() for s in scores]))

    def validation(self, sources: Sequence[str]) -> list[Episodes]:
        """Episodes that the rate, the steps and the share are chosen by."""
        return self.episodes("validation", sources, EPISODES)

    def episodes(self, part: Part, sources: Sequence[str], count: int) -> list[Episodes]:
        """A batch of `count` episodes for each of these sources that has classes for this part."""
        made = []
        for name in sources:
            tasks = self.source_rows.tasks(part, [name])
            if tasks is not None:
                sampler, _ = fitted(Sampled(ways=self.ways, shots=self.shots, queries=10), tasks)
                made.append(sampler.draw(tasks, key(self.seed, part, name), 0, count))
        return made
