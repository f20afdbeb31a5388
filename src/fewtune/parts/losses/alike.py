"""What losses that compare rows with one another share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mean_log_share(scores: Float[Tensor, "E Q Q"], alike: Bool[Tensor, "E Q Q"], among: Bool[Tensor, "E Q Q"]) -> Float[Tensor, " E"]:
    """The mean over rows i of an episode of the mean over their `alike` j of -log softmax_j scores[i, j], the softmax over `among`.

    Rows without an alike one are left out; 0 where none has one.
    """
    logs = torch.log_softmax(scores.masked_fill(~among & among.any(2, keepdim=True), -torch.inf), dim=2)
    count = alike.sum(2)
    cost = -logs.masked_fill(~alike, 0.0).sum(2) / count.clamp_min(1)
    return cost.sum(1) / (count > 0).sum(1).clamp_min(1)
