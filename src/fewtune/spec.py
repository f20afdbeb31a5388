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
import numbers
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import GenericAlias, NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from fewtune.errors import InputError, unknown

Words: TypeAlias = Mapping[str, Callable[..., Any]]
Hints: TypeAlias = tuple[Any, ...]

_EXACT = 2**53  # up to here every integer is a float


def text(value: object) -> str:
    """The constructor text of a spec, every default spelled out; `inf` and `nan` are written as words.

    An integer where a field takes floats is written as the float it means, so that equal specs have one text (and one digest).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = hints_of(type(value))
        fields = (f"{f.name}={text(_meant(getattr(value, f.name), hints.get(f.name, ())))}" for f in dataclasses.fields(value) if f.init)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    raise TypeError(f"a spec holds literals, tuples and specs, not {type(value).__name__}")


@cache
def hints_of(word: Callable[..., Any]) -> Mapping[str, Hints]:
    """The alternatives of the type of each option of a class or a function; none where the type cannot be looked up here."""
    module = vars(sys.modules[word.__module__])
    found: dict[str, Hints] = {}
    for name, parameter in inspect.signature(word).parameters.items():
        try:
            hint = get_type_hints(SimpleNamespace(__annotations__={name: parameter.annotation}), module)[name]
        except (NameError, TypeError, AttributeError):  # a name that is imported for type checkers only
            found[name] = ()
        else:
            found[name] = () if parameter.annotation is parameter.empty else _alternatives(hint)
    return found


def _alternatives(hint: object) -> Hints:
    """What a type may be: the members of a union, or itself."""
    return tuple(one for arm in get_args(hint) for one in _alternatives(arm)) if get_origin(hint) in (Union, UnionType) else (hint,)


def _meant(value: object, hints: Hints) -> object:
    """Integers as floats where one of the types is float and none is int or that very literal; inside tuples too."""
    if isinstance(value, tuple):
        entries = _entries(hints, len(value)) or ((),) * len(value)
        return tuple(_meant(item, inside) for item, inside in zip(value, entries, strict=True))
    if type(value) is not int or float not in hints or int in hints or any(value in get_args(one) for one in hints):
        return value
    return float(value) if abs(value) <= _EXACT else value


def _entries(hints: Hints, length: int) -> tuple[Hints, ...] | None:
    """The types of each entry of a tuple of that length; None if none of `hints` is such a tuple."""
    arms = [get_args(one) for one in hints if isinstance(one, GenericAlias) and one.__origin__ is tuple]
    fit = [arm[:1] * length if arm[1:] == (Ellipsis,) else arm for arm in arms if arm[1:] == (Ellipsis,) or len(arm) == length]
    return tuple(tuple(one for arm in fit for one in _alternatives(arm[place])) for place in range(length)) if fit else None


def digest(value: object) -> str:
    """32 hexadecimal digits: the hash of the value's text (or of the string itself)."""
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
    bound.arguments.update(checked(words[name], name, bound.arguments))
    try:
        return words[name](*bound.args, **bound.kwargs)
    except OverflowError:
        raise InputError(f"{name}: a number is too large.") from None


def checked(word: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that `word`, called `name`, is given, as its annotations say: 5 for 5.0 where it takes whole numbers, a list as a tuple.

    Raises InputError where an option is of another type.
    """
    hints = hints_of(word)
    return {option: _taken(value, hints.get(option, ()), f"{name}: {option}") for option, value in given.items()}


def _taken(value: Any, hints: Hints, where: str) -> Any:
    """A value of one of the types. InputError otherwise; it names the entry where the value is a tuple of the right length."""
    if not hints:
        return value
    value = _plain(value, hints)
    if isinstance(value, tuple) and (entries := _entries(hints, len(value))) is not None:
        return tuple(_taken(item, inside, f"{where}[{place}]") for place, (item, inside) in enumerate(zip(value, entries, strict=True)))
    if any(_is(value, hint) for hint in hints):
        return value
    if int in hints and isinstance(value, float) and value.is_integer():
        return int(value)
    raise InputError(f"{where} is {_described(hints)}, found {_shown(value)}.")


def _plain(value: Any, hints: Hints) -> Any:
    """Lists as tuples, a lone string as a tuple of one where only that is taken, numbers of other libraries as Python's."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and tuple[str, ...] in hints and str not in hints:
        return (value,)
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value


def _is(value: object, hint: Any) -> bool:
    """Whether a value is of one type; of types that cannot be checked, yes."""
    if get_origin(hint) is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(hint))
    if hint is int or hint is float:
        return not isinstance(value, bool) and isinstance(value, (int, hint))
    if get_origin(hint) is tuple or isinstance(value, type):
        return False
    try:
        return not isinstance(hint, type) or isinstance(value, hint)
    except TypeError:  # a protocol that is not made for it
        return True


_PLAIN_WORDS = {float: "a number", int: "a whole number", bool: "True or False", str: "a text in quotes"}
_SAMPLES = {float: ("0.1", "0.2"), int: ("1", "2"), str: ("'a'", "'b'")}


def _described(hints: Hints) -> str:
    """The types in words: plain values first, None last."""
    ordered = sorted(hints, key=lambda hint: (hint is NoneType, hint not in _PLAIN_WORDS))
    words = [word for hint in ordered for word in _words_of(hint)]
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _words_of(hint: Any) -> list[str]:
    if hint in _PLAIN_WORDS or hint is NoneType:
        return [_PLAIN_WORDS.get(hint, "None")]
    if get_origin(hint) is Literal:
        return [repr(one) for one in get_args(hint)]
    name = getattr(hint, "__name__", str(hint))
    if get_origin(hint) is not tuple:
        return [f"{'an' if name[0] in 'AEIOU' else 'a'} {name.lower()}" if getattr(hint, "_is_protocol", False) else f"{name}(...)"]
    count = 2 if hint.__args__[1:] == (Ellipsis,) else len(hint.__args__)
    entries = _entries((hint,), count) or ()
    samples = [next((two[place % 2] for plain, two in _SAMPLES.items() if plain in inside), "") for place, inside in enumerate(entries)]
    length = "" if Ellipsis in hint.__args__ else f" of {count}"
    return [f"a tuple{length} such as ({', '.join(samples)})" if all(samples) else f"a tuple{length}, each entry {_described(entries[0])}"]


def _shown(value: object) -> str:
    """What was found, in at most 60 characters."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, type):
        return value.__name__
    if value is None or isinstance(value, str | bool | int | float):
        found = repr(value)
        return found if len(found) <= 60 else f"{found[:57]}..."
    return f"{type(value).__name__}(...)"


def _options(signature: inspect.Signature) -> str:
    return ", ".join(str(p).split(":")[0].split("=")[0].strip() for p in signature.parameters.values()) or "no options"
