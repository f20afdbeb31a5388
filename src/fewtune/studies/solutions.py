"""What several finetuned networks are worth together: the curve between start and end, averages of weights, and ensembles of answers.

All networks come from one start, and one head answers for all of them. What is chosen is chosen on validation episodes.
Reference: Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022; Wortsman et al., "Model soups", ICML 2022
(table 3: best on validation, oracle, ensemble, greedy ensemble, uniform soup, greedy soup).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.edits import settled
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import average, respond
from fewtune.learning.ground import Ground
from fewtune.learning.soup import greedy
from fewtune.parts.heads.head import Head
from fewtune.statistics import Interval, normal_interval, paired_interval
from fewtune.tasks.episodes import Episodes
from fewtune.transfer import interpolation
from fewtune.transfer.landscape import check_alike

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Weights: TypeAlias = Mapping[str, Tensor]
ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


@final
@dataclass(frozen=True)
class AlphaCurve:
    """Accuracy of (1 - alpha) start + alpha end at each of `alphas`: `accuracy` [points, episodes]."""

    alphas: tuple[float, ...]
    accuracy: Floats

    def intervals(self) -> tuple[Interval, ...]:
        """95% over episodes, one for each alpha."""
        return tuple(normal_interval(one) for one in self.accuracy)

    def gain(self, alpha: float) -> Interval:
        """The paired difference to the end, over episodes. Raises InputError for an alpha that was not measured."""
        if alpha not in self.alphas or 1.0 not in self.alphas:
            raise InputError(f"expected alpha as one of {', '.join(map(str, self.alphas))}, and 1 among them, found {alpha}.")
        return paired_interval(self.accuracy[self.alphas.index(alpha)] - self.accuracy[self.alphas.index(1.0)])


def alpha_curve(
    ground: Ground, start: Weights, end: Weights, head: Head, episodes: Episodes, alphas: Sequence[float] = ALPHAS
) -> AlphaCurve:
    """WiSE-FT at several alphas: at 0 and 1 these are the very weights given.

    `start` and `end`: weights of one network, of the same names; where the ground has edits, it is the edited weights that are mixed.
    Raises InputError where the names differ or there is no alpha.
    """
    check_alike(start, end)
    end = settled(ground.edits, end, start)
    found = interpolation(start, end, lambda weights: _accuracy(_logits(ground, weights, head, episodes), episodes), points=tuple(alphas))
    return AlphaCurve(tuple(map(float, alphas)), found)


@final
@dataclass(frozen=True)
class Together:
    """Accuracy by episode [E] of each way to use several solutions, by its name; `taken`: the members of the greedy ensemble, in order.

    The names: "best on validation", "oracle" (the best on the test episodes: not a method), "ensemble" (the mean of the members'
    log-probabilities), "greedy ensemble", "uniform soup", "greedy soup" (averages of weights). `members`: each alone.
    """

    accuracy: Mapping[str, Floats]
    members: Mapping[str, Floats]
    taken: tuple[str, ...]

    def intervals(self) -> dict[str, Interval]:
        """95% over episodes."""
        return {name: normal_interval(values) for name, values in {**self.members, **self.accuracy}.items()}


def together(ground: Ground, members: Mapping[str, Weights], head: Head, validation: Episodes, test: Episodes) -> Together:
    """Every way to use several solutions, chosen on `validation` and measured on `test`. Raises InputError without a member."""
    if not members:
        raise InputError("expected at least one trained network, found none.")
    names, ends = list(members), list(members.values())
    on_validation, on_test = ([_logits(ground, end, head, part) for end in ends] for part in (validation, test))
    alone = [float(_accuracy(logits, validation).mean()) for logits in on_validation]
    scores = [_accuracy(logits, test) for logits in on_test]
    taken = _greedily(alone, lambda some: float(_accuracy(_mean([on_validation[i] for i in some]), validation).mean()))

    def soup(weights: Weights) -> Floats:
        return _accuracy(_logits(ground, weights, head, test), test)

    def judged(weights: Weights) -> float:
        return float(_accuracy(_logits(ground, weights, head, validation), validation).mean())

    found = {
        "best on validation": scores[int(np.argmax(alone))],
        "oracle": scores[int(np.argmax([one.mean() for one in scores]))],
        "ensemble": _accuracy(_mean(on_test), test),
        "greedy ensemble": _accuracy(_mean([on_test[i] for i in taken]), test),
        "uniform soup": soup(average(ends, [1 / len(ends)] * len(ends), ground.edits, ends[0])),
        "greedy soup": soup(greedy(ends, judged, ground.edits, ends[0])),
    }
    return Together(found, dict(zip(names, scores, strict=True)), tuple(names[i] for i in taken))


def _greedily(alone: Sequence[float], accuracy: Callable[[Sequence[int]], float]) -> list[int]:
    """In order of their own accuracy, each member with which the ensemble's does not fall (Model soups, recipe 1, on outputs)."""
    order = sorted(range(len(alone)), key=lambda i: -alone[i])
    taken, best = order[:1], alone[order[0]]
    for i in order[1:]:
        tried = accuracy([*taken, i])
        if tried >= best:
            taken, best = [*taken, i], tried
    return taken


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """The mean of log-probabilities."""
    return torch.stack([one.log_softmax(-1) for one in logits]).mean(0)


def _logits(ground: Ground, weights: Weights, head: Head, episodes: Episodes) -> Tensor:
    with torch.no_grad():
        return respond(ground, head, weights, episodes, key(0)).logits.double()


def _accuracy(logits: Tensor, episodes: Episodes) -> Floats:
    inside = episodes.query_label >= 0
    right = (logits.argmax(-1).cpu() == episodes.query_label) & inside
    found: Floats = (right.sum(1).double() / inside.sum(1).clamp_min(1)).numpy()
    return found
