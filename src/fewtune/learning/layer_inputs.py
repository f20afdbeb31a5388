"""The inputs of a network's linear layers on some rows, as Gram matrices X^T X: what `RegMean` merges by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fewtune.keys import Key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Step, phases_of
from fewtune.tasks.task import Tasks

ROWS = 256  # of a member's training rows


def input_grams(ground: Ground, weights: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """X^T X [in, in] in float64 by the name of the weight, of linear layers and 1 x 1 convolutions of stride 1, over `rows`."""
    held = {n: t.detach() for n, t in ground.held(weights).items()}
    watch = _Watch(held)
    with torch.no_grad(), watch:
        if len(rows):
            ground.backbone.embed(held, ground.space, torch.tensor(rows))
    return watch.found


def member_rows(member: tuple[Step, ...], tasks: Tasks, key: Key) -> list[int]:
    """At most `ROWS` rows that a member trains on, drawn by its last phase's sampler; none for an empty member."""
    phases = phases_of(member)
    if not phases:
        return []
    episodes = phases[-1].sampler.draw(tasks, key, 0, max(1, phases[-1].batch))
    rows = np.unique(torch.cat([episodes.query.flatten(), episodes.support.flatten()]).numpy())
    return [int(row) for row in rows[rows >= 0][:ROWS]]


@final
class _Watch(TorchFunctionMode):
    """Adds up X^T X of every layer whose weight is one of those given, while the network runs."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {t.data_ptr(): n for n, t in weights.items() if t.ndim in (2, 4) and t.is_floating_point()}
        self.found: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = dict(zip(("input", "weight", "bias", "stride"), args, strict=False)) | (kwargs or {})
        if func is torch.nn.functional.linear:
            self._add(given, given["input"].flatten(0, -2))
        elif func in (torch.conv2d, torch.nn.functional.conv2d) and self._pointwise(given, args):
            self._add(given, given["input"].movedim(1, -1).flatten(0, -2))
        return func(*args, **(kwargs or {}))

    def _pointwise(self, given: Mapping[str, Any], args: tuple[Any, ...]) -> bool:
        stride = given.get("stride", 1)
        groups = args[6] if len(args) > 6 else given.get("groups", 1)
        return given["weight"].shape[2:] == (1, 1) and stride in (1, (1, 1), [1, 1]) and groups == 1

    def _add(self, given: Mapping[str, Any], rows: Tensor) -> None:
        name = self.names.get(given["weight"].data_ptr())
        if name is not None:
            exact = rows.double()
            gram = exact.mT @ exact
            self.found[name] = self.found[name] + gram if name in self.found else gram
