"""A study: methods x protocols x seeds on one pool and backbone, every method on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.pool import Pool
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.training import Training
from fewtune.learning.method import Method
from fewtune.spec import digest, text
from fewtune.tasks.episodes import Episodes

Drawn: TypeAlias = dict[tuple[int, int], Episodes]
Variants: TypeAlias = Mapping[str, Method]  # a method as the values of a sweep make it, by what was varied ("" alone where nothing was)


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What is compared. `methods` by the name they are shown under; `features` [N, D] are the target's rows through the backbone.

    `pool`: the target first, then the sources, of which `sources` counts. `training`: how methods that learn are treated.
    """

    pool: Pool
    backbone: Backbone
    features: Tensor
    protocols: tuple[Protocol, ...]
    methods: Mapping[str, Variants]
    training: Training = field(default_factory=Training)

    @property
    def target(self) -> Pool:
        """The collection that is tested on; its rows and classes have the same numbers as in the pool."""
        return Pool(self.pool.sources[:1])

    @property
    def trains(self) -> bool:
        """Whether some method learns, or moves weights on test episodes."""
        return any(not m.frozen for variants in self.methods.values() for m in variants.values())

    def text(self) -> str:
        """The full description, one fact a line: what is hashed and kept as `study.txt`."""
        sources = [f"source {s.name} {s.digest()} {digest(str(s.labels.tolist()))}" for s in self.pool.sources]
        splits = [f"class splits {digest(str(self.pool.class_split.tolist()))}"] if len(self.pool.sources) > 1 else []
        names = [f"classes {digest(repr(self.pool.class_names))}"]
        protocols = [f"protocol {text(p)}" for p in self.protocols]
        methods = [f"method {text(m)}" for variants in self.methods.values() for m in variants.values()]
        training = [f"training {text(self.training)}"] if self.trains else []
        backbone = f"backbone {self.backbone.name} {self.backbone.digest()}"
        return "\n".join([backbone, *sources, *splits, *names, *protocols, *training, *methods])

    def draw(self) -> Drawn:
        """The episodes by (protocol number, seed)."""
        target = self.target
        return {(i, seed): e for i, p in enumerate(self.protocols) for seed, e in p.draw(target).items()}
