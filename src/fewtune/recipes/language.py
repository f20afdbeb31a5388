"""The words of `--method`: recipes by their names, and the types they expand to."""

from __future__ import annotations

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.parts.heads import HEADS
from fewtune.recipes.frozen import FROZEN
from fewtune.spec import Words, parse

WORDS: Words = {word.__name__: word for word in (*FROZEN, Method, *HEADS)}


def read_method(source: str) -> Method:
    """The method that a text spells: `ridge(penalty=10)`, `centroid`, `Method(learner=Ridge(penalty=10))`."""
    found = parse(source, WORDS)
    if isinstance(found, HEADS):
        return Method(learner=found)
    if not isinstance(found, Method):
        raise InputError(f"{source!r} is no method: expected one of {', '.join(f.__name__ for f in FROZEN)}.")
    return found
