"""What one forward pass shows about a network: when each module ran, and what it returned, as shapes that are valid for any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten  # torch.func itself uses it to take structures apart

_PLAIN = (type(None), bool, int, float, str)


@final
@dataclass(frozen=True)
class Size:
    """The number of rows in a batch, and the number of tokens of each (1 if rows are not texts)."""

    rows: int
    tokens: int


@final
@dataclass(frozen=True)
class Shape:
    """The sizes of a tensor for any batch. Each size is a factor, times the rows of the batch (or not), times its tokens (or not)."""

    factors: tuple[tuple[int, bool, bool], ...]
    dtype: torch.dtype

    def filled(self, value: float, size: Size, device: str) -> Tensor:
        """A tensor of this shape that takes no memory."""
        sizes = [factor * (size.rows if rows else 1) * (size.tokens if tokens else 1) for factor, rows, tokens in self.factors]
        return torch.full((), value, dtype=self.dtype, device=device).expand(sizes)


@final
@dataclass(frozen=True)
class Leaf:
    """One tensor returned by a module."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    learns: bool  # whether it depends on moving weights


@final
@dataclass(frozen=True, eq=False)
class Call:
    """One run of a module. `end`: how many module calls ended before it. `leaves` and `structure`: its output."""

    module: nn.Module
    end: int
    leaves: tuple[Any, ...]
    structure: TreeSpec


@final
@dataclass(frozen=True, eq=False)
class Form:
    """The output of a module for any batch: tensors as shapes, everything else unchanged."""

    leaves: tuple[Any, ...]
    structure: TreeSpec

    @property
    def first(self) -> int:
        """The position of the first tensor; -1 if there is none."""
        return next((i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Shape)), -1)

    def filled(self, value: float, size: Size, device: str, first: Tensor | None = None) -> Any:
        """An output of this form with `value` for every number, and with `first`, if given, as its first tensor."""
        made = [leaf.filled(value, size, device) if isinstance(leaf, Shape) else leaf for leaf in self.leaves]
        if first is not None:
            made[self.first] = first
        return tree_unflatten(made, self.structure)


def traced(network: nn.Module, run: Callable[[], object]) -> list[Call]:
    """The calls of modules during `run`, in the order in which they ended."""
    calls: list[Call] = []

    def seen(module: nn.Module, _: Any, output: Any) -> None:
        leaves, structure = tree_flatten(output)
        shown = (Leaf(tuple(x.shape), x.dtype, x.requires_grad) if isinstance(x, Tensor) else x for x in leaves)
        calls.append(Call(module, len(calls), tuple(shown), structure))

    hooks = [module.register_forward_hook(seen) for module in network.modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def first_tensor(output: Any) -> Tensor:
    """The tensor at the position `Form.first`."""
    leaves, _ = tree_flatten(output)
    found: Tensor = next(leaf for leaf in leaves if isinstance(leaf, Tensor))
    return found


def form(calls: tuple[Call, Call], sizes: tuple[Size, Size]) -> Form | None:
    """The output of the same call for any batch, derived from batches of two sizes; None if that is not possible."""
    one, other = calls
    if one.structure != other.structure or len(one.leaves) != len(other.leaves):
        return None
    leaves = [_leaf(a, b, sizes) for a, b in zip(one.leaves, other.leaves, strict=True)]
    return None if any(leaf is Ellipsis for leaf in leaves) else Form(tuple(leaves), one.structure)


def _leaf(a: Any, b: Any, sizes: tuple[Size, Size]) -> Any:
    """A shape, or an ordinary value that is the same in both; Ellipsis for anything else."""
    if not isinstance(a, Leaf) or not isinstance(b, Leaf):
        return a if isinstance(a, _PLAIN) and type(a) is type(b) and a == b else Ellipsis
    return shape(a, b, sizes) or Ellipsis


def shape(a: Leaf, b: Leaf, sizes: tuple[Size, Size]) -> Shape | None:
    """The shape that fits both batches."""
    if a.dtype != b.dtype or len(a.sizes) != len(b.sizes):
        return None
    factors = [_factor(m, n, sizes) for m, n in zip(a.sizes, b.sizes, strict=True)]
    return None if None in factors else Shape(tuple(f for f in factors if f is not None), a.dtype)


def _factor(m: int, n: int, sizes: tuple[Size, Size]) -> tuple[int, bool, bool] | None:
    one, other = sizes
    for rows, tokens in ((False, False), (True, False), (False, True), (True, True)):
        p, q = ((s.rows if rows else 1) * (s.tokens if tokens else 1) for s in (one, other))
        if m % p == 0 and n % q == 0 and m // p == n // q:
            return m // p, rows, tokens
    return None


@contextmanager
def returning(outputs: Mapping[nn.Module, Sequence[Any]]) -> Iterator[None]:
    """Inside, these modules do not run: each call returns the next of these outputs."""
    before = {module: vars(module).get("forward") for module in outputs}
    try:
        for module, each in outputs.items():
            module.forward = partial(_next, iter(each))
        yield
    finally:
        for module, own in before.items():
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own


def _next(outputs: Iterator[Any], *_: Any, **__: Any) -> Any:
    return next(outputs)
