"""Class names are read once while only weights move that their vectors do not depend on."""

from __future__ import annotations

import torch
from torch import Tensor

from fewtune.learning.label_memo import LabelMemo


def test_what_is_read_again() -> None:
    memo, read = LabelMemo(), []

    def vectors(weights: dict[str, Tensor], names: tuple[str, ...] = ("cat", "dog"), prompts: tuple[str, ...] = ("{}",)) -> Tensor:
        def now() -> Tensor:
            read.append(names)
            return weights["text"].sum() * torch.ones(len(names), 2)

        return memo.of(names, prompts, weights, now)

    still = {"text": torch.ones(3), "more": torch.ones(1)}
    first = vectors({**still, "image": torch.ones(2).requires_grad_()})
    assert vectors({**still, "image": torch.zeros(2).requires_grad_()}) is first and len(read) == 1  # the image side has moved
    assert vectors({**still, "image": torch.zeros(2)}) is first and len(read) == 1  # and moves no more
    vectors({**still, "image": torch.ones(2).requires_grad_()}, names=("cat",))
    vectors({**still, "image": torch.ones(2).requires_grad_()}, names=("cat",), prompts=("a {}",))
    assert len(read) == 3
    other = vectors({**still, "text": torch.full((3,), 2.0), "image": torch.ones(2).requires_grad_()}, names=("cat",), prompts=("a {}",))
    assert len(read) == 4 and float(other[0, 0]) == 6.0  # other weights below the vectors
    moving = {**still, "text": torch.ones(3).requires_grad_()}
    assert vectors(moving).requires_grad and vectors(moving).requires_grad and len(read) == 6  # they depend on what moves
    with torch.no_grad():
        vectors({**still, "image": torch.ones(2).requires_grad_()}, names=("cat",), prompts=("a {}",))
    assert len(read) == 7
