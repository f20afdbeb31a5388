"""What a forward pass keeps for the gradient, in bytes, and when it is computed again instead of kept.

One pass on one row and one on two are looked at: what the second row adds is what every row takes, whatever the weights take beside it.
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

ROOM = 1 << 30  # bytes of activations that one training step may keep on the CPU; on a GPU half of its memory


def room(machine: Machine) -> int:
    """Bytes of activations that a training step may keep at once. It does not depend on what else is running."""
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
        result = run()  # held until all are counted, so that no two of them have one address
    del result
    return sum(seen.values())


@final
class RowBytes:
    """What one row keeps for the gradient, measured once for each set of moving weights.

    `forward(weights, inputs, **options)`: one pass.
    """

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        self._forward = forward
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, weights: Weights, item: Any, batch: Callable[[list[Any]], Any], *, size: int = 0, **options: Any) -> int:
        """Bytes that one more row like `item` takes; 0 where no weight requires a gradient. `batch` makes inputs of items.

        `size`: where rows differ in it. One up to twice as large as the one that was measured counts as much as it.
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
    """How many rows go through each pass that is computed again for the gradient; 0 where the activations of `count` rows are kept.

    Explicit `machine.recompute` decides; by itself it is chosen where they are more than the room. A pass by itself fits into the room.
    """
    if machine.recompute is False or not count or not torch.is_grad_enabled():
        return 0
    each, most = row_bytes(), room(machine)
    if machine.recompute is None and each * count <= most:
        return 0
    return max(1, most // max(1, each))


def computed_again(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same computation, which keeps nothing but its arguments and runs again for the gradient."""
    return partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
