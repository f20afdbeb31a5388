"""What the checks share: a law that holds or is broken in a sentence, and the law that a part is its text."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from fewtune.spec import parse, text

TIGHT = 1e-7  # float64; iterative solvers stop at 1e-9 of their own measures


def law(holds: bool, part: object, sentence: str) -> None:
    """Raise AssertionError, whatever Python's optimization, where a law does not hold."""
    if not holds:
        raise AssertionError(f"{type(part).__name__}: {sentence}.")


def equal(a: Tensor, b: Tensor, tolerance: float = TIGHT) -> bool:
    """Whether two tensors of one shape agree, infinities included."""
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=False))


def is_its_text(part: object) -> None:
    """A part is a frozen value: it equals what its text spells, and it can be hashed."""
    try:
        again = parse(text(part), _words(part))
        same = again == part and hash(again) == hash(part)
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"{type(part).__name__}: it must be a frozen keyword-only dataclass of plain values ({problem}).") from problem
    law(same, part, f"it must equal what its text spells, {text(part)}")


def _words(part: object) -> dict[str, type]:
    """The types that the text of a part names: its own, and those of the parts it is made of."""
    if isinstance(part, tuple):
        return {name: kind for one in part for name, kind in _words(one).items()}
    if not is_dataclass(part) or isinstance(part, type):
        return {}
    return {type(part).__name__: type(part)} | {n: k for f in fields(part) for n, k in _words(getattr(part, f.name)).items()}
