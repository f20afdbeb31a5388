"""What recipes share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.parts.heads.head import Head
from fewtune.parts.optimizers import SGD

MOMENTUM = SGD(momentum=0.9)


def as_head(given: Head | Method | None) -> Head | None:
    """A head, also where it is named by a frozen recipe such as `ridge(penalty=10)`."""
    if isinstance(given, Method):
        if not given.frozen:
            raise InputError("the head of a recipe is a head or a frozen recipe such as ridge(penalty=10), found one that trains.")
        return given.head
    return given


def variant(recipe: Callable[..., Method], name: str, doc: str, **fixed: Any) -> Callable[..., Method]:
    """A recipe of its own name: another one with some of its options fixed, which it no longer takes."""

    @functools.wraps(recipe)
    def made(*given: Any, **named: Any) -> Method:
        signature.bind(*given, **named)
        return recipe(*given, **named, **fixed)

    whole = inspect.signature(recipe)
    signature = whole.replace(parameters=[p for p in whole.parameters.values() if p.name not in fixed])
    made.__name__, made.__qualname__, made.__doc__ = name, name, doc
    made.__signature__ = signature  # type: ignore[attr-defined]
    return made
