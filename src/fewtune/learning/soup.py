"""The greedy soup: which ends of several runs are worth averaging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from fewtune.learning.engine import average


def greedy(ends: Sequence[Mapping[str, Tensor]], accuracy: Callable[[Mapping[str, Tensor]], float]) -> dict[str, Tensor]:
    """The uniform average of the ends that are taken: in order of their own accuracy, each with which the average's does not fall.

    Ties keep the given order. Reference: Wortsman et al., "Model soups", ICML 2022, recipe 1.
    """
    alone = [accuracy(end) for end in ends]
    order = sorted(range(len(ends)), key=lambda i: -alone[i])
    taken, best = [order[0]], alone[order[0]]
    for i in order[1:]:
        tried = accuracy(_mean([ends[j] for j in [*taken, i]]))
        if tried >= best:
            taken, best = [*taken, i], tried
    return _mean([ends[j] for j in taken])


def _mean(ends: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return average(ends, [1 / len(ends)] * len(ends))
