"""Heads by compiled kernels: what `fit` and `score` say, up to rounding, without tensors of gathered features in between.

`Centroid`, `Ridge` and `Logistic` with a fixed strength are fitted by kernels too; other linear heads fit as always. Episodes that a kernel
cannot finish (a matrix that is singular in float64, a minimum that is not reached) are fitted in the plain way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.parts.heads.centroid import Centroid
from fewtune.parts.heads.features import ABSENT, LinearHead
from fewtune.parts.heads.head import Head, Parameters, State
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.ridge import Ridge
from fewtune.tasks.episodes import Episodes

Array = np.ndarray[Any, Any]


def can_judge(head: Head, table: Tensor, episodes: Episodes) -> bool:
    """Whether kernels can label these queries: a linear head, float32 or bfloat16 features on the CPU, classes."""
    kinds = (torch.float32, torch.bfloat16)
    plain = table.device.type == "cpu" and table.is_contiguous() and table.dtype in kinds
    return plain and isinstance(head, LinearHead) and episodes.query_label.ndim == 2 and len(table) > 0


def judged_by(
    head: LinearHead, state: State, parameters: Parameters, table: Tensor, episodes: Episodes
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"], Bool[Tensor, "E Q"]]:
    """(accuracy, mean loss in nats, whether each query is right) of episodes by the head's state; padding counts for nothing."""
    from fewtune.parts.heads.kernels.judging import judge

    form = head.as_linear(state, parameters)
    weight = form.state["weight"].float().numpy()
    bias = form.state["bias"].float().numpy() if "bias" in form.state else np.zeros(weight.shape[:2], dtype=np.float32)
    count, queries = episodes.query.shape
    accuracy, loss, right = np.empty(count), np.empty(count), np.empty((count, queries), dtype=np.bool_)
    scale = np.float32(1.0 if form.scale is None else float(form.scale))
    query, label, classes = map(_whole, (episodes.query, episodes.query_label, episodes.classes))
    judge(_rows(table), query, label, classes, weight, bias, form.normalize, scale, accuracy, loss, right)
    return torch.from_numpy(accuracy), torch.from_numpy(loss), torch.from_numpy(right)


def fitted_by(head: Head, table: Tensor, episodes: Episodes, parameters: Parameters) -> State | None:
    """The state of a head that has a kernel to fit it, as `fit` gives it; None for the others. Where `solved` is False it is no state."""
    if episodes.support_label.ndim != 2:
        return None
    shape = len(episodes), episodes.ways, table.shape[1]
    weight, bias = np.empty(shape, dtype=np.float32), np.empty(shape[:2], dtype=np.float32)
    given = _rows(table), _whole(episodes.support), _whole(episodes.support_label)
    solved = np.ones(len(episodes), dtype=np.bool_)
    match head:
        case Centroid():
            from fewtune.parts.heads.kernels.centroid_fit import fit_centroids

            fit_centroids(*given, bool(head.normalize_first), head.metric == "cosine", weight, bias)
        case Ridge(penalty=float() | int()) if episodes.support.shape[1] < table.shape[1]:
            from fewtune.parts.heads.kernels.ridge_fit import fit_ridge

            penalty = float(head.penalty) * float(parameters[f"{head.name}.log_penalty"].double().exp())
            scale = float(parameters[f"{head.name}.scale"])
            fit_ridge(*given, head.normalize, head.intercept, penalty, scale, weight, bias, solved)
        case Logistic(C=float() | int()):
            from fewtune.parts.heads.kernels.logistic_fit import fit_logistic

            fit_logistic(*given, head.normalize, head.intercept, float(head.C), ABSENT, weight, bias, solved)
        case _:
            return None
    return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias), "solved": torch.from_numpy(solved)}


def _rows(table: Tensor) -> Array:
    """The table as kernels read it: float32, or the bits of bfloat16."""
    if table.dtype == torch.bfloat16:
        return table.view(torch.int16).numpy().view(np.uint16)
    return table.numpy()


def _whole(numbers: Tensor) -> Array:
    return np.ascontiguousarray(numbers.numpy(), dtype=np.int64)
