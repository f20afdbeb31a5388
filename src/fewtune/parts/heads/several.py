"""What heads that are made of several heads share: their check, their parameters, and the mean of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Head, Parameters, State, under


def check_temperatures(heads: Sequence[Head], temperatures: Sequence[float]) -> None:
    """Raise InputError unless there is one temperature above 0 for each head."""
    if len(temperatures) != len(heads) or not all(0 < t < float("inf") for t in temperatures):
        raise InputError(f"expected {len(heads)} temperatures above 0, one a head, found {tuple(temperatures)}.")


def declared_by(heads: Sequence[Head], name: str, width: int, classes: Sequence[str]) -> Parameters:
    """The parameters of each head, as "<name>.<its place>.<parameter>"."""
    return {
        f"{name}.{place}.{key.removeprefix(f'{head.name}.')}": value
        for place, head in enumerate(heads)
        for key, value in head.declare(width, classes).items()
    }


def parameters_of(head: Head, place: int, name: str, parameters: Parameters) -> Parameters:
    """The parameters of one head, under the names that it gave them."""
    return {f"{head.name}.{key}": value for key, value in under(f"{name}.{place}.", parameters).items()}


def mean_score(
    heads: Sequence[Head], temperatures: Sequence[float], name: str, state: State, query: Callable[[int], Tensor], parameters: Parameters
) -> Tensor:
    """The mean of the logits of all heads, each divided by its temperature; `query(place)`: the features that a head reads."""
    parts = [
        head.score(under(f"{place}.", state), query(place), parameters_of(head, place, name, parameters)) / temperature
        for place, (head, temperature) in enumerate(zip(heads, temperatures, strict=True))
    ]
    return torch.stack(parts).mean(0)
