"""A spec is a frozen keyword-only dataclass; its constructor text is its name, its record and what is hashed.

`text(value)` spells out every field, `parse(text, words)` reads it back with `ast` (literals and known names only, nothing
executes), and `digest(value)` hashes the text. The law: `parse(text(s), words) == s`.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import GenericAlias, SimpleNamespace, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from fewtune.errors import InputError, unknown

Words: TypeAlias = Mapping[str, Callable[..., Any]]
Hints: TypeAlias = tuple[Any, ...]

_EXACT = 2**53  # up to here every integer is a float


def text(value: object) -> str:
    """The constructor text of a spec, every default spelled out; `inf` and `nan` are written as words.

    An integer where a field takes floats is written as the float it means, so that equal specs have one text (and one digest).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (f"{name}={text(_meant(getattr(value, name), hints))}" for name, hints in _fields(type(value)))
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    raise TypeError(f"a spec holds literals, tuples and specs, not {type(value).__name__}")


@cache
def _fields(spec: type) -> tuple[tuple[str, Hints], ...]:
    """The fields of a spec's constructor, each with the alternatives of its type; none where the type cannot be looked up here."""
    words = vars(sys.modules[spec.__module__])
    found: list[tuple[str, Hints]] = []
    for field in dataclasses.fields(spec):
        try:
            hint = get_type_hints(SimpleNamespace(__annotations__={field.name: field.type}), words)[field.name]
        except (NameError, TypeError, AttributeError):  # a name that is imported for type checkers only
            found.append((field.name, ()))
        else:
            found.append((field.name, _alternatives(hint)))
    return tuple(one for field, one in zip(dataclasses.fields(spec), found, strict=True) if field.init)


def _alternatives(hint: object) -> Hints:
    """What a type may be: the members of a union, or itself."""
    return tuple(one for arm in get_args(hint) for one in _alternatives(arm)) if get_origin(hint) in (Union, UnionType) else (hint,)


def _meant(value: object, hints: Hints) -> object:
    """Integers as floats where one of the types is float and none speaks of integers; inside tuples too."""
    if isinstance(value, tuple):
        arms = [get_args(one) for one in hints if isinstance(one, GenericAlias) and one.__origin__ is tuple]
        return tuple(_meant(item, tuple(one for arm in arms for one in _place(arm, place, len(value)))) for place, item in enumerate(value))
    if type(value) is not int or float not in hints or int in hints or any(value in get_args(one) for one in hints):
        return value
    return float(value) if abs(value) <= _EXACT else value


def _place(arm: tuple[Any, ...], place: int, length: int) -> Hints:
    """The types of one entry of a tuple: tuple[X, ...] or tuple[X, Y] of that length."""
    if len(arm) == 2 and arm[1] is Ellipsis:
        return _alternatives(arm[0])
    return _alternatives(arm[place]) if len(arm) == length else ()


def digest(value: object) -> str:
    """32 hexadecimal digits that stand for the value: the hash of its text (or of the string itself)."""
    return hashlib.blake2b((value if isinstance(value, str) else text(value)).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def parse(source: str, words: Words) -> Any:
    """The value that `source` spells; a bare name means `name()`.

    Raises InputError for anything but literals, tuples and calls of known words with keyword (or plain) arguments.
    """
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"cannot read {source!r}: expected something like 'ridge(penalty=10)'.") from None
    return _value(tree, words, source)


def _value(node: ast.expr, words: Words, source: str) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as literal):
            return literal
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _value(operand, words, source)
            if isinstance(number, int | float):
                return -number
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, words, source) for item in items)
        case ast.Name(id="inf"):
            return math.inf
        case ast.Name(id="nan"):
            return math.nan
        case ast.Name(id=name):
            return _call(name, [], {}, words)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            named = {k.arg: _value(k.value, words, source) for k in keywords if k.arg is not None}
            if len(named) == len(keywords):
                return _call(name, [_value(a, words, source) for a in args], named, words)
    raise InputError(
        f"cannot read {ast.unparse(node)!r} in {source!r}: expected numbers, strings, tuples and calls such as 'ridge(penalty=10)'."
    )


def _call(name: str, args: list[Any], named: dict[str, Any], words: Words) -> Any:
    if name not in words:
        raise unknown("name", name, words)
    signature = inspect.signature(words[name])
    for given in named:
        if given not in signature.parameters:
            raise InputError(f"{name} has no option {given!r}: it takes {_options(signature)}.")
    try:
        bound = signature.bind(*args, **named)
    except TypeError as problem:
        raise InputError(f"{name}: {problem}; it takes {_options(signature)}.") from None
    for option, value in bound.arguments.items():
        bound.arguments[option] = _number(value, signature.parameters[option], name)
    return words[name](*bound.args, **bound.kwargs)


def _number(value: Any, parameter: inspect.Parameter, name: str) -> Any:
    """What an option is given; 5.0 as 5 where the option is a whole number."""
    if not isinstance(value, float) or str(getattr(parameter.annotation, "__name__", parameter.annotation)) != "int":
        return value
    if not value.is_integer():
        raise InputError(f"{name}: {parameter.name} is a whole number, found {value:g}.")
    return int(value)


def _options(signature: inspect.Signature) -> str:
    return ", ".join(str(p).split(":")[0].split("=")[0].strip() for p in signature.parameters.values()) or "no options"
