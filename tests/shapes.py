"""The shapes in the annotations of tensor functions are checked, in tests only.

Functions and dataclasses without a shape are left as they are: mypy knows their types, and a check would cost more than most of them do
(with all of them checked, the tests of the engine took 2.6 times as long). A function that is called very often, such as the inner
products of a solver, is checked in the first calls of each test and then now and then: its calls are alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as type checkers have it

_SHAPE = re.compile(r"\b(Bool|Float|Int|Shaped)\[")  # annotations are texts
_jaxtyped = jaxtyping.jaxtyped
FIRST, EACH = 100, 23  # calls of a function that are checked: the first ones, and then one of so many
seen: Counter[str] = Counter()  # calls of each function in the running test; conftest.py clears it


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """What the import hook decorates every function and class with."""

    def decorated(made: Any) -> Any:
        annotations = vars(made).get("__annotations__", {}) if isinstance(made, type) else made.__annotations__
        shaped = any(_SHAPE.search(str(annotation)) for annotation in annotations.values())
        if not shaped:
            return made
        strict = _jaxtyped(made, typechecker=typechecker)
        return strict if isinstance(made, type) else often(strict, made)

    return decorated


def often(strict: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`strict` in the first calls of a test and in one of `EACH` after them, else `plain`."""
    name = f"{plain.__module__}.{plain.__qualname__}"

    @wraps(plain)
    def called(*args: Any, **named: Any) -> Any:
        seen[name] += 1
        return (strict if seen[name] <= FIRST or seen[name] % EACH == 0 else plain)(*args, **named)

    return called


def check_shapes(*packages: str) -> None:
    """Check the shapes of all modules of these packages that are imported from now on."""
    jaxtyping.jaxtyped = jaxtyped
    jaxtyping.install_import_hook(packages, f"{__name__}.checked")
