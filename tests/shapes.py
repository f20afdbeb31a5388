"""The shapes in the annotations of tensor functions are checked at every call, in tests only.

Functions and dataclasses without a shape are left as they are: mypy knows their types, and a check would cost more than most of them do
(with all of them checked, the tests of the engine took 2.6 times as long).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as type checkers have it

_SHAPE = re.compile(r"\b(Bool|Float|Int|Shaped)\[")  # annotations are texts
_jaxtyped = jaxtyping.jaxtyped


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """What the import hook decorates every function and class with."""

    def decorated(made: Any) -> Any:
        annotations = vars(made).get("__annotations__", {}) if isinstance(made, type) else made.__annotations__
        shaped = any(_SHAPE.search(str(annotation)) for annotation in annotations.values())
        return _jaxtyped(made, typechecker=typechecker) if shaped else made

    return decorated


def check_shapes(*packages: str) -> None:
    """Check the shapes of all modules of these packages that are imported from now on."""
    jaxtyping.jaxtyped = jaxtyped
    jaxtyping.install_import_hook(packages, f"{__name__}.checked")
