"""The greedy soup: which ends of several runs are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from fewtune.backbones.edits import Edit
from fewtune.learning.engine import average


def greedy(
    ends: Sequence[Mapping[str, Tensor]],
    accuracy: Callable[[Mapping[str, Tensor]], float],
    edits: tuple[Edit, ...] = (),
    start: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The uniform average of the ends that are taken: in order of their own accuracy, each with which the average's does not fall.

    Ties keep the given order. `edits` and `start` as `average` takes them. Reference: Wortsman et al., "Model soups", ICML 2022, recipe 1.
    """

    def mean(some: Sequence[int]) -> dict[str, Tensor]:
        return average([ends[i] for i in some], [1 / len(some)] * len(some), edits, start)

    alone = [accuracy(end) for end in ends]
    order = sorted(range(len(ends)), key=lambda i: -alone[i])
    taken, best = [order[0]], alone[order[0]]
    for i in order[1:]:
        tried = accuracy(mean([*taken, i]))
        if tried >= best:
            taken, best = [*taken, i], tried
    return mean(taken)
