"""The shapes in annotations are checked while the tests run: a wrong one is refused at the call, an argument or an answer."""

from __future__ import annotations

import inspect

import pytest
import torch
from jaxtyping import TypeCheckError

from fewtune.parts.heads import matching
from fewtune.tasks import episodes
from tests.shapes import _SHAPE


def test_a_wrong_shape_is_refused() -> None:
    similarities, members = torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)
    assert matching._attend(similarities, members).shape == (2, 3, 5)
    with pytest.raises(TypeCheckError):
        matching._attend(similarities[0], members)  # an axis too few
    with pytest.raises(TypeCheckError):
        matching._attend(similarities, torch.zeros(2, 6, 5))  # S is 4 in one and 6 in the other
    with pytest.raises(TypeCheckError):
        matching._attend(similarities, members.long())


def test_values_with_shapes_are_checked_too() -> None:
    fields = episodes.Episodes.__annotations__
    assert any(_SHAPE.search(text) for text in fields.values())
    none = {name: torch.zeros(0) for name in fields if name in inspect.signature(episodes.Episodes).parameters}
    with pytest.raises(TypeCheckError):
        episodes.Episodes(**none)  # type: ignore[arg-type]
