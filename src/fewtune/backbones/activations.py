"""The bytes of activations that a forward pass keeps for the gradient, and when they are recomputed instead of kept.

They are measured by two passes, on one row and on two: the difference is the memory of one row, without that of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from fewtune.machine import Machine

Weights: TypeAlias = Mapping[str, Tensor]

ROOM = 1 << 30  # bytes of activations that one training step may keep on the CPU; on a GPU, half of its memory


def room(machine: Machine) -> int:
    """The bytes of activations that a training step may keep. They do not depend on what else is running."""
    if machine.device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(machine.device).total_memory) // 2
    return ROOM


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """The bytes of all tensors that a computation keeps for its gradient, each counted once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()  # kept alive until all are counted, so that no two tensors have the same address
    del result
    return sum(seen.values())


@final
class RowBytes:
    """The bytes that one row keeps for the gradient, measured once for each set of moving weights.

    `forward(weights, inputs, **options)`: one pass.
    """

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        self._forward = forward
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, weights: Weights, item: Any, batch: Callable[[list[Any]], Any], *, size: int = 0, **options: Any) -> int:
        """The bytes that one more row like `item` takes; 0 if no weight requires a gradient. `batch` makes inputs from items.

        `size`: the size of the row, if rows differ in size. It is measured once for each range of sizes from 2^n to below 2^(n + 1).
        """
        moving = frozenset(n for n, tensor in weights.items() if tensor.requires_grad)
        if not moving:
            return 0
        known = (moving, size.bit_length(), *sorted(options.items()))
        if known not in self._known:
            one, two = (kept_bytes(partial(self._forward, weights, batch([item] * n), **options)) for n in (1, 2))
            self._known[known] = max(0, two - one)
        return self._known[known]


def rows_again(machine: Machine, count: int, row_bytes: Callable[[], int]) -> int:
    """The number of rows in each pass that is recomputed for the gradient; 0 if the activations of all `count` rows are kept.

    `machine.recompute` decides if it is True or False. If None, passes are recomputed if the activations exceed `room`. Each pass fits into
    `room`.
    """
    if machine.recompute is False or not count or not torch.is_grad_enabled():
        return 0
    each, most = row_bytes(), room(machine)
    if machine.recompute is None and each * count <= most:
        return 0
    return max(1, most // max(1, each))


def computed_again(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same computation, but it keeps only its arguments and is recomputed for the gradient."""
    return partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
