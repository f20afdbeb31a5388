"""SharedBottom: one trunk for all tasks, and a linear or hidden layer for each (multi-head, hard sharing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from fewtune.parts.heads.head import Parameters, State, nothing_own
from fewtune.parts.meeting import meeting
from fewtune.parts.sharing.dense import Activation, hidden, layers
from fewtune.parts.sharing.sharing import answered, asked, check, output_rows, read, root, started
from fewtune.parts.sharing.towers import check_tower, through, towers


@final
@dataclass(frozen=True, kw_only=True)
class SharedBottom:
    """y_t = W_t h(x), or W_t act(V_t h(x)) with a `tower` of that width: `depth` shared hidden layers of `width`.

    Reference: Caruana, "Multitask learning", Machine Learning 28, 1997.
    """

    outputs: tuple[int, ...] = ()
    width: int = 64
    depth: int = 1
    tower: int = 0
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
        check_tower(self, self.tower)

    @started
    def declare(self, width: int) -> Parameters:
        trunk = layers(root(self), width, self.width, self.depth)
        return {**trunk, **towers(self, self.tower), **output_rows(self, self.tower or self.width)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        own, rows = read(self, parameters, query)
        shared = meeting(hidden(own, rows, self.depth, self.activation))
        return answered(own, state, through(own, shared, self, self.tower, state["task"]), query)
