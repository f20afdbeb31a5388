"""A study: methods x protocols x seeds on one row space and backbone, every method on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.row_space import RowSpace
from fewtune.evaluation.facts import array_digest, backbone_fact, space_facts
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.task_choice import Reserved
from fewtune.evaluation.training_settings import Training
from fewtune.learning.method import Method
from fewtune.spec import text
from fewtune.tasks.episodes import Episodes
from fewtune.version import __version__

Drawn: TypeAlias = dict[tuple[int, int], Episodes]
Variants: TypeAlias = Mapping[str, Method]  # a method as it is, under "", and as the values of a sweep make it, by what was varied
DEFAULTS = ""


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What is compared. `methods` by the name they are shown under; `features` [N, D] are the target's rows through the backbone.

    `source`: what methods that learn may learn from, a row space apart: training never sees the target, so a trained model serves any of
    them. `training`: how such methods are treated. `reserved`: what methods that choose their tasks may know of the target. `beside`:
    by the name of a control, the method that it stands beside, and whose value of a sweep it takes (see `controls`).
    """

    target: RowSpace
    backbone: Backbone
    features: Tensor
    protocols: tuple[Protocol, ...]
    methods: Mapping[str, Variants]
    source: RowSpace | None = None
    training: Training = field(default_factory=Training)
    reserved: Reserved | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether some method learns, or moves weights on test episodes."""
        return any(not m.frozen for variants in self.methods.values() for m in variants.values())

    def text(self) -> str:
        """All that the results depend on, one fact a line: what is hashed and kept as `study.txt`.

        The version of fewtune is among it, those of other libraries are not: they are kept in `machine.json`. Of `features` the type
        counts, because their values follow from the target and the backbone, up to rounding.
        """
        version, features = f"fewtune {__version__}", f"features {self.features.dtype} {self.features.shape[-1]}"
        protocols = [f"protocol {text(p)}" for p in self.protocols]
        named = [(name, label, m) for name, variants in self.methods.items() for label, m in variants.items()]
        methods = [f"method {name!r} {label!r} {text(m)}" for name, label, m in named]
        training = [f"training {text(self.training)}", *self.learned_from()] if self.trains else []
        if self.reserved is not None:
            training.append(f"reserved {array_digest(self.reserved.rows)} {array_digest(self.reserved.labels)}")
        methods += [f"control {name!r} of {other!r}" for name, other in self.beside.items()]
        lines = [version, backbone_fact(self.backbone), *space_facts(self.target, "target"), features, *protocols, *training, *methods]
        return "\n".join(lines)

    def learned_from(self) -> list[str]:
        """What source phases learn from, one fact a line."""
        return [] if self.source is None else space_facts(self.source, "source")

    def draw(self) -> Drawn:
        """The episodes by (protocol number, seed)."""
        return {(i, seed): e for i, p in enumerate(self.protocols) for seed, e in p.draw(self.target, self.features).items()}
