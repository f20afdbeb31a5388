"""Paths into a method: `phases.0.steps` is the number of steps of its first phase. A sweep changes the number at a path.

Parts before the last one may be left out where one value is meant: `phases.0.lr` is `phases.0.plan.rules.0.1.lr` where the plan has one
rate. Rates of 0, which freeze, are not meant by a short path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.spec import checked


def numbers_of(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """(path, number) of every number in a spec, in the order of its text; what is None may be a number too."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from numbers_of(item, (*path, str(place)))
    elif is_dataclass(value):
        for field in fields(value):
            if field.init:
                yield from numbers_of(getattr(value, field.name), (*path, field.name))


def meant(method: Method, path: str) -> list[tuple[str, ...]]:
    """The whole paths that a path stands for; none where the method has no such number.

    Raises InputError where several different values could be meant.
    """
    known, asked = dict(numbers_of(method)), tuple(path.split("."))
    if asked in known:
        return [asked]
    found = [whole for whole, value in known.items() if _within(asked, whole) and value]
    if len({known[whole] for whole in found}) > 1:
        listed = " or ".join(".".join(whole) for whole in found[:4])
        raise InputError(f"the path {path} stands for several values of the method: give {listed}.")
    return found


def put(value: Any, path: Sequence[str], number: float) -> Any:
    """The same spec with another number at a whole path. Raises InputError where the place takes no such number."""
    name, rest = path[0], path[1:]
    if isinstance(value, tuple):
        place = int(name)
        return (*value[:place], put(value[place], rest, number) if rest else number, *value[place + 1 :])
    new = put(getattr(value, name), rest, number) if rest else number
    kind = type(value)
    return replace(value, **checked(kind, kind.__name__, {name: new}))


def unknown_path(path: str, methods: Sequence[Method]) -> InputError:
    """The error for a path that no method has, with the nearest ones that some have."""
    known = dict.fromkeys(".".join(whole) for method in methods for whole, _ in numbers_of(method))
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.3)
    return InputError(f"no method has a number at {path}: did you mean {' or '.join(near)}?")


def _within(short: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether the last part of a short path is a number somewhere below its other parts."""
    return whole[: len(short) - 1] == short[:-1] and whole[-1] == short[-1]
