"""A study: methods x protocols x seeds on one pool and backbone, every method on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.pool import Pool
from fewtune.evaluation.chosen import Reserved
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.training import Training
from fewtune.learning.method import Method
from fewtune.spec import digest, text
from fewtune.tasks.episodes import Episodes

Drawn: TypeAlias = dict[tuple[int, int], Episodes]
Variants: TypeAlias = Mapping[str, Method]  # a method as it is, under "", and as the values of a sweep make it, by what was varied
DEFAULTS = ""


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What is compared. `methods` by the name they are shown under; `features` [N, D] are the target's rows through the backbone.

    `source`: what methods that learn may learn from, a pool apart: training never sees the target, so a trained model serves any of them.
    `training`: how such methods are treated. `reserved`: what methods that choose their tasks may know of the target.
    """

    target: Pool
    backbone: Backbone
    features: Tensor
    protocols: tuple[Protocol, ...]
    methods: Mapping[str, Variants]
    source: Pool | None = None
    training: Training = field(default_factory=Training)
    reserved: Reserved | None = None

    @property
    def trains(self) -> bool:
        """Whether some method learns, or moves weights on test episodes."""
        return any(not m.frozen for variants in self.methods.values() for m in variants.values())

    def text(self) -> str:
        """The full description, one fact a line: what is hashed and kept as `study.txt`."""
        tested = [f"source {s.name} {s.digest()} {digest(str(s.labels.tolist()))}" for s in self.target.sources]
        names = [f"classes {digest(repr(self.target.class_names))}"]
        protocols = [f"protocol {text(p)}" for p in self.protocols]
        methods = [f"method {text(m)}" for variants in self.methods.values() for m in variants.values()]
        training = [f"training {text(self.training)}", *self.learned_from()] if self.trains else []
        if self.reserved is not None:
            training.append(f"reserved {digest(str((self.reserved.rows.tolist(), self.reserved.labels.tolist())))}")
        backbone = f"backbone {self.backbone.name} {self.backbone.digest()}"
        return "\n".join([backbone, *tested, *names, *protocols, *training, *methods])

    def learned_from(self) -> list[str]:
        """What source phases learn from, one fact a line."""
        if self.source is None:
            return []
        rows = [f"learned from {s.name} {s.digest()} {digest(str(s.labels.tolist()))}" for s in self.source.sources]
        return [*rows, f"class splits {digest(str(self.source.class_split.tolist()))} names {digest(repr(self.source.class_names))}"]

    def draw(self) -> Drawn:
        """The episodes by (protocol number, seed)."""
        return {(i, seed): e for i, p in enumerate(self.protocols) for seed, e in p.draw(self.target).items()}
