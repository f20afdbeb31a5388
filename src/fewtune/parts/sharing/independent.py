"""Independent: a network of its own for each task. Nothing is shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.sharing.dense import Activation, hidden, layers
from fewtune.parts.sharing.sharing import answered, asked, check, output_rows, read, root, started


@final
@dataclass(frozen=True, kw_only=True)
class Independent:
    """y_t = W_t h_t(x): `depth` hidden layers of `width` a task, `<name>.trunk.0.weight` [T, width, D] and so on.

    All networks begin with the same hidden weights, those of `SharedBottom` with this seed, so that the two are compared from one start.
    With the loss `SoftSharing` the networks are held near each other (soft parameter sharing).
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    activation: Activation = "relu"
    seed: int = 0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True
    own: ClassVar[tuple[str, ...]] = ()

    begin = nothing_own
    fit = asked

    def __post_init__(self) -> None:
        check(self)

    @started
    def declare(self, width: int) -> Parameters:
        trunks = layers(root(self), width, self.width, self.depth, copies=len(self.outputs))
        return {**trunks, **output_rows(self, self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        return answered(own, state, hidden(own, rows, self.depth, self.activation, state["task"]), query)
