"""Accuracy and loss of a head on a feature table by compiled kernels: one pass over the queries instead of gathered copies and logits."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.learning.on_features import check, fit_on_table, vectors_of
from fewtune.parts.heads.features import LinearHead
from fewtune.parts.heads.fused import can_judge, fitted_by, judged_by
from fewtune.parts.heads.head import Head, Parameters, State
from fewtune.tasks.episodes import Episodes

__all__ = ["can_judge", "judge_table"]

STATE_BYTES = 1 << 20  # of the weights of a chunk: they are read again from the cache


@torch.inference_mode()
def judge_table(
    head: Head, table: Float[Tensor, "N D"], episodes: Episodes, class_vectors: Tensor | None = None, parameters: Parameters | None = None
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"], Bool[Tensor, "E Q"]]:
    """(accuracy, mean loss in nats, whether each query is right) of every episode, where `can_judge` says that kernels can.

    Arguments and errors as those of `answer_table`.
    """
    check(head, table, episodes, class_vectors)
    assert isinstance(head, LinearHead) and can_judge(head, table, episodes)
    if parameters is None:
        parameters = head.declare(table.shape[1])
    chunk = min(256, max(1, STATE_BYTES // max(1, 4 * episodes.ways * table.shape[1])))
    parts = []
    for start in range(0, len(episodes), chunk):
        part = slice(start, min(start + chunk, len(episodes)))
        mine, vectors = episodes[part], vectors_of(class_vectors, episodes, part, table)
        parts.append(judged_by(head, _state(head, table, mine, vectors, parameters), parameters, table, mine))
    if not parts:
        return torch.empty(0).double(), torch.empty(0).double(), torch.empty(episodes.query.shape, dtype=torch.bool)
    accuracy, loss, right = zip(*parts, strict=True)
    return torch.cat(accuracy), torch.cat(loss), torch.cat(right)


def _state(head: Head, table: Tensor, episodes: Episodes, vectors: Tensor | None, parameters: Parameters) -> State:
    """By a kernel where there is one; what it does not solve is fitted in the plain way, as are other heads."""
    state = fitted_by(head, table, episodes, parameters)
    if state is None:
        return fit_on_table(head, table, episodes, vectors, parameters)
    left = ~state.pop("solved")
    if bool(left.any()):
        few = None if vectors is None else vectors[left]
        again = fit_on_table(head, table, episodes[left], few, parameters)
        for name, tensor in state.items():
            tensor[left] = again.get(name, torch.tensor(0.0))
    return state
