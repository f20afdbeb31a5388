"""What a method runs on: a backbone and the pool its rows come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.pool import Pool
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.parts.heads.head import Head, Parameters
from fewtune.parts.heads.linear import Linear
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """A backbone and a pool; every function of the engine takes one."""

    backbone: Backbone
    pool: Pool

    @cached_property
    def names(self) -> frozenset[str]:
        """The backbone's weights, buffers included; every other name in a run's weights was declared by a part."""
        return frozenset(self.backbone.start())

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The backbone's parameters from input to output, without buffers."""
        return tuple(name for _, group in self.backbone.groups for name in group)

    def movable(self, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """What a plan must cover: the backbone's parameters and every declared name."""
        return (*self.parameters, *(name for name in weights if name not in self.names))

    def embed(self, weights: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Features of rows [E, B] by the weights at hand."""
        return self.backbone.embed({n: t for n, t in weights.items() if n in self.names}, self.pool, rows)

    def class_vectors(self, head: Head, weights: Mapping[str, Tensor], episodes: Episodes) -> Tensor | None:
        """The class vectors [E, K, D] that a head reads, by the weights at hand; None where it reads none."""
        if not head.reads_classes:
            return None
        ids = sorted({c for c in episodes.classes.flatten().tolist() if c >= 0})
        names = [self.pool.class_names[c] for c in ids]
        held = {n: t for n, t in weights.items() if n in self.names}
        vectors = class_vectors(self.backbone, held, names, prompts_of(head))
        place = {c: i for i, c in enumerate(ids)}
        index = [[place.get(c, 0) for c in row] for row in episodes.classes.tolist()]
        return vectors[index]

    def declared(self, head: Head) -> Parameters:
        """The parameters a head starts from, on the machine's device."""
        made = head.declare(self.width, len(self.pool.class_names)) if isinstance(head, Linear) else head.declare(self.width)
        return {n: t.to(self.backbone.machine.device) for n, t in made.items()}

    @cached_property
    def width(self) -> int:
        """The width of the features."""
        return self.backbone.width or int(np.asarray(self.pool.fetch(0)).shape[-1])
