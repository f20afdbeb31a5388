"""Fitting a head on a whole support."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.learning.method import Method
from fewtune.tasks.episodes import Episodes


def fit_head(
    method: Method,
    features: Tensor,
    rows: Integers,
    labels: Integers,
    ways: int,
    vectors: Tensor | None,
    learned: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The head's state and its parameters, fitted on `rows` of `features` [*, D] with `labels` 0..ways-1; leading axis 1.

    `learned`: parameters that training moved, by name; the head's own start by default.
    """
    support_rows = torch.from_numpy(rows)[None]
    none = support_rows[:, :0]
    episode = Episodes(
        support_rows, torch.from_numpy(labels)[None], none, none, torch.arange(ways)[None], torch.zeros(1, dtype=torch.int64)
    )
    support = features[support_rows]
    parameters = {k: v.to(support) for k, v in (method.head.declare(support.shape[-1]) | dict(learned or {})).items()}
    with torch.inference_mode():
        state = method.head.fit(support, episode, None if vectors is None else vectors[None].to(support), parameters)
    return {k: v.clone() for k, v in state.items()}, {k: v.clone() for k, v in parameters.items()}
