"""Towers: one hidden layer for each task between what is shared and the outputs; width 0 for none."""

from __future__ import annotations

from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Parameters
from fewtune.parts.sharing.dense import active, dense, layer
from fewtune.parts.sharing.sharing import Sharing, root


def check_tower(head: Sharing, width: int) -> None:
    """Raises InputError below 0."""
    if width < 0:
        raise InputError(f"{type(head).__name__}: tower is a width, 0 for none, found {width}.")


def towers(head: Sharing, width: int) -> Parameters:
    """`tower.weight` [T, width, H] and `tower.bias` [T, width], each task with a start of its own; nothing where `width` is 0."""
    return layer(root(head), "tower", head.width, width, copies=len(head.outputs), apart=True) if width else {}


def through(own: Parameters, shared: Tensor, head: Sharing, width: int, task: Tensor) -> Tensor:
    """What is shared, through the tower of each episode's task."""
    return active(dense(own, "tower", shared, task), head.activation) if width else shared
