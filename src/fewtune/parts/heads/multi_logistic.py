"""MultiLogistic: a logistic regression for each label, where several may hold at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fewtune.parts.heads.features import linear, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.parts.heads.logistic import Logistic
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class MultiLogistic:
    """Label l holds with probability sigmoid(f . w_l + b_l): for each label the binary `Logistic` of the rows where it is known.

    Equals scikit-learn's OneVsRestClassifier(LogisticRegression(C)) on multi-hot labels without missing ones. Multi-hot labels
    [E, S, L] (-1 missing) or floats of 0 and 1 (NaN missing) give logits [E, Q, L]; class labels give one-vs-rest logits, whose softmax is
    no calibrated probability. A label that always or never holds among its n known rows has weight 0 and the bias
    log((n_1 + 1/2) / (n_0 + 1/2)), without any row 0. `C`, `normalize`: as in `Logistic`.
    """

    C: float | Literal["loo"] = 1.0
    normalize: bool = True
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        Logistic(C=self.C)  # refuses what it cannot be

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, L, D], "bias": [E, L]}."""
        held = _known_labels(episodes, support)
        binary = Logistic(C=self.C, normalize=self.normalize)
        weights, biases = [], []
        two = episodes.classes.new_tensor([0, 1])
        for label in held.unbind(dim=-1):
            none = label[:, :0]
            rows = replace(episodes, support_label=label, query=none, query_label=none, classes=two.expand(len(label), 2), kind=None)
            state = binary.fit(support, rows, None, {})
            ones, noughts = ((label == value).sum(dim=1) for value in (1, 0))
            both = (ones > 0) & (noughts > 0)
            certain = ((ones + 0.5) / (noughts + 0.5)).log().to(state["bias"])
            weight = state["weight"][:, 1] - state["weight"][:, 0]
            weights.append(torch.where(both[:, None], weight, 0.0))
            biases.append(torch.where(both, state["bias"][:, 1] - state["bias"][:, 0], certain))
        return {"weight": torch.stack(weights, dim=1).to(widen(support)), "bias": torch.stack(biases, dim=1).to(widen(support))}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:  # noqa: ARG002
        return linear(state, query, normalize=self.normalize)


def _known_labels(episodes: Episodes, like: Tensor) -> Tensor:
    """Labels of 0 and 1, -1 unknown, [E, S, L] integers."""
    label = episodes.support_label
    padding = (episodes.support < 0)[..., None] if label.ndim == 3 else (label < 0)[..., None]
    if label.ndim == 2:
        label = one_hot(episodes, like)
        absent = (episodes.classes < 0)[:, None].expand_as(label)
        return label.long().masked_fill(padding | absent, -1)
    known = label.nan_to_num(-1.0) if label.is_floating_point() else label
    return known.long().masked_fill(padding, -1)
