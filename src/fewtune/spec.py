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
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fewtune.errors import InputError, unknown

Words: TypeAlias = Mapping[str, Callable[..., Any]]


def text(value: object) -> str:
    """The constructor text of a spec, every default spelled out; `inf` and `nan` are written as words."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (f"{f.name}={text(getattr(value, f.name))}" for f in dataclasses.fields(value) if f.init)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    raise TypeError(f"a spec holds literals, tuples and specs, not {type(value).__name__}")


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
        signature.bind(*args, **named)
    except TypeError as problem:
        raise InputError(f"{name}: {problem}; it takes {_options(signature)}.") from None
    return words[name](*args, **named)


def _options(signature: inspect.Signature) -> str:
    return ", ".join(str(p).split(":")[0].split("=")[0].strip() for p in signature.parameters.values()) or "no options"
