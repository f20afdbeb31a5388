"""Forward passes: a network as a pure function of named weights, on the device and in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewtune.backbones.activations import RowBytes, Weights, computed_again
from fewtune.backbones.attention import plain_attention
from fewtune.machine import Machine

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@final
@dataclass(frozen=True, eq=False)
class Passes:
    """The passes of one network. `machine` is resolved: no "auto"."""

    network: nn.Module
    machine: Machine

    def forward(
        self, weights: Weights, inputs: Any, *, again: bool = False, also: Tensor | None = None, **options: Any
    ) -> Float[Tensor, "B D"]:
        """The network on prepared inputs: autocast to the machine's precision, features in float32.

        `again`: keep no activations for the gradient, but recompute them when they are needed. `also`: what it reads beside weights and
        inputs, so that gradients flow to it.
        """
        device = self.machine.device
        moved = _moved(inputs, device, self.machine.channels_last)
        held = {name: tensor.to(device) for name, tensor in weights.items()}
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*held.values(), *(() if also is None else (also,))))
        network = self._called
        if network.training:  # a pure function has no dropout and no batch statistics
            network.eval()
        with self._cast(), nullcontext() if keep else torch.no_grad():
            if not keep and self._is_own(held):  # to put every weight into its place and take it out again costs milliseconds
                features: Tensor = network(moved, **options)
            else:
                run: Callable[..., Tensor] = torch.func.functional_call
                if keep and again:
                    run = computed_again(run)
                features = run(network, held, (moved,), options)
        return features if features.dtype == torch.float64 else features.float()

    def forward_each(self, own: Weights, shared: Weights, inputs: Tensor) -> Float[Tensor, "E B D"]:
        """The network on the inputs [E, B, ...] of episodes, each with its `own` weights [E, ...] beside the `shared` ones [...].

        One vmapped pass. Attention uses its plain kernel, because the fused kernels do not work under vmap.
        """
        rows = _moved(inputs.flatten(0, 1), self.machine.device, self.machine.channels_last).unflatten(0, inputs.shape[:2])

        def features(mine: dict[str, Tensor], of: Tensor) -> Tensor:
            found: Tensor = torch.func.functional_call(self.network, {**shared, **mine}, (of,))
            return found

        network = self.network.to(self.machine.device)
        assert not network.training
        with self._cast(), plain_attention():
            made = torch.func.vmap(features)(dict(own), rows)
        return made if made.dtype == torch.float64 else made.float()

    @cached_property
    def row_bytes(self) -> RowBytes:
        """The bytes that one row keeps for the gradient, measured at the first use."""
        return RowBytes(self.forward)

    def _is_own(self, weights: Weights) -> bool:
        """Whether weights are the network's own: the same memory, read in the same way. (Of others, it uses its own.)"""
        own = self._own
        return all(name in own and _same(tensor, own[name]) for name, tensor in weights.items())

    @cached_property
    def _own(self) -> dict[str, Tensor]:
        return self.network.state_dict(keep_vars=True)

    def _cast(self) -> AbstractContextManager[Any]:
        """Autocast to the machine's precision."""
        dtype = _DTYPES[self.machine.dtype]
        return nullcontext() if dtype == torch.float32 else torch.autocast(torch.device(self.machine.device).type, dtype=dtype)

    @cached_property
    def _called(self) -> nn.Module:
        """The network on the device, compiled if the machine says so."""
        network = self.network.to(self.machine.device)
        if self.machine.compile:
            network.compile()
        return network


def placed(network: nn.Module, machine: Machine, *, images: bool) -> nn.Module:
    """The network itself, moved to its device and layout once, so that no forward pass has to move its weights."""
    network.eval().requires_grad_(False).to(device=machine.device)
    if machine.channels_last and images:
        network.to(memory_format=torch.channels_last)
    return network


def _moved(inputs: Any, device: str, channels_last: bool) -> Any:
    if isinstance(inputs, Mapping):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    if inputs.ndim == 4:
        return inputs.to(device).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return inputs.to(device)


def _same(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors are the same memory, read in the same way."""
    try:
        there = one.data_ptr() == two.data_ptr()
    except RuntimeError:  # under vmap a tensor has no memory of its own
        return False
    return there and one.shape == two.shape and one.stride() == two.stride() and one.dtype == two.dtype and one.device == two.device
