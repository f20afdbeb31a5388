"""What each method and part is: options, defaults, reference and one line, read from its docstring and signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

from fewtune.errors import InputError, unknown
from fewtune.plugins import registered
from fewtune.recipes.language import AXES, RECIPES, WORDS
from fewtune.spec import text

METHOD, PLUGIN = "method", "other packages"
_NO_DEFAULT = inspect.Parameter.empty
_REFERENCE = re.compile(r"References?: *(.+?)(?= Departs:| Raises |\n\n|\Z)", re.DOTALL)
_CITED = re.compile(r"[A-Z][\w-]+(?:,? (?:and )?[A-Z][\w-]+)*(?: et al\.)?,? (?:[A-Z][\w.]*,? )?(?:19|20)\d\d")


@final
@dataclass(frozen=True)
class Option:
    """An option as it is written in the text of a method. `default` is its text; None where it must be given."""

    name: str
    type: str
    default: str | None


@final
@dataclass(frozen=True)
class Described:
    """A method or a part of one.

    `kind`: "method", or the axis of a part ("head", "loss", ...). `room`: the file of a method ("frozen", "meta", ...), empty for parts.
    `line`: its first sentence. `reference`: the publications that its docstring names, or an empty text. `text`: the whole docstring.
    """

    name: str
    kind: str
    room: str
    line: str
    options: tuple[Option, ...]
    reference: str
    text: str


def described(word: str = "", *, parts: bool = False) -> list[Described]:
    """All methods, and with `parts` the parts that methods are written with; `word`: only those that hold it, in any case.

    A part is found by its exact name without `parts` too. Raises InputError where nothing holds the word.
    """
    every = [_described(*one) for one in _everything()]
    exact = [one for one in every if one.name == word]
    if exact:
        return exact
    wanted = word.lower()
    listed = [one for one in every if parts or one.kind == METHOD]
    found = [one for one in listed if wanted in f"{one.name} {one.kind} {one.room} {one.text}".lower()]
    if found:
        return found
    if not parts and any(wanted in f"{one.name} {one.text}".lower() for one in every):
        raise InputError(f"no method holds the word {word!r}, but parts of methods do: add --parts.")
    raise unknown("method", word, [one.name for one in listed])


def _everything() -> Iterator[tuple[str, Callable[..., Any], str, str]]:
    """(name, word, kind, room) of all methods and parts."""
    for recipe in RECIPES:
        yield recipe.__name__, recipe, METHOD, recipe.__module__.rpartition(".")[2].replace("_", " ")
    for name in registered("fewtune.methods"):
        yield name, WORDS[name], METHOD, PLUGIN
    for axis, members in AXES.items():
        for name, part in members.items():
            yield name, part, axis, ""
    for name in registered("fewtune.heads"):
        yield name, WORDS[name], "head", PLUGIN


def _described(name: str, word: Callable[..., Any], kind: str, room: str) -> Described:
    whole = (inspect.getdoc(word) or "").partition("\n>>>")[0].strip()
    first = " ".join(whole.partition("\n\n")[0].split())
    line = re.split(r" References?: ", first)[0]
    return Described(name, kind, room, line, tuple(_options(word)), _reference(whole), whole)


def _options(word: Callable[..., Any]) -> Iterator[Option]:
    for name, parameter in inspect.signature(word).parameters.items():
        kind = parameter.annotation
        shown = kind if isinstance(kind, str) else inspect.formatannotation(kind)
        yield Option(name, _short_type(shown), None if parameter.default is _NO_DEFAULT else _default(parameter.default))


def _default(value: object) -> str:
    try:
        return text(value)
    except TypeError:  # a part of another package may have defaults of any type
        return repr(value)


def _short_type(shown: str) -> str:
    """A type without the modules of its names."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", shown)


def _reference(whole: str) -> str:
    if said := _REFERENCE.search(whole):
        return " ".join(said[1].split()).rstrip(".")
    return "; ".join(dict.fromkeys(match[0] for match in _CITED.finditer(" ".join(whole.split()))))
