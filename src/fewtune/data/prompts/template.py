"""Templates of prompts: a sentence with the text and one mask, whose word is the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from fewtune.data.fields import cleaned, fields_of
from fewtune.errors import InputError

MASK = "[MASK]"
_START, _END, _MASKED, _FILLED = "\x02", "\x03", "\x1a", "\x1e"
_PARTS = re.compile(r"(\{[^{}]*\}|\[MASK\]|<mask>)")
_EXAMPLE = "'{text} It was [MASK].'"


@final
@dataclass(frozen=True)
class Prompt:
    """A filled template. `text`: what the model reads, `mask`: where its mask begins, `fields`: where each field begins and ends.

    All places are characters of `text`.
    """

    text: str
    mask: int
    fields: tuple[tuple[int, int], ...]


@final
@dataclass(frozen=True)
class Template:
    """A sentence with `[MASK]` once, and `{text}`, or `{1}` and `{2}` for texts of two fields; or the names of the fields in braces.

    `names`: the names of the fields, if they have any, in the order in which the texts hold them. Raises InputError for a sentence
    without a mask or with two, and for a field that is missing, unknown or there twice.

    >>> Template("{text} It was [MASK].").filled("Great fun").text("<mask>").text
    'Great fun It was <mask>.'
    """

    sentence: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        masks = sum(part in (MASK, "<mask>") for part in self._parts)
        if masks != 1:
            found = "none" if not masks else str(masks)
            raise InputError(f"a template has one [MASK], found {found} in {self.sentence!r}: write something like {_EXAMPLE}.")
        fields = [part for part in self._parts if part.startswith("{")]
        if not fields:
            raise InputError(f"a template holds the text, as in {_EXAMPLE}: found no {{text}} in {self.sentence!r}.")
        if strange := [part for part in fields if part not in self._places]:
            known = ", ".join(self._said)
            raise InputError(f"the template {self.sentence!r} has the field {strange[0]}: expected {known}.")
        places = [self._places[part] for part in fields]
        if len(set(places)) < len(places):
            raise InputError(f"the template {self.sentence!r} holds a field twice: each belongs into it once.")
        if sorted(places) != list(range(self.count)):
            raise InputError(f"the template {self.sentence!r} lacks a field: expected {' and '.join(self._said[: self.count])}.")

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        return tuple(part for part in _PARTS.split(self.sentence) if part)

    @cached_property
    def _said(self) -> tuple[str, ...]:
        return tuple(f"{{{name}}}" for name in self.names) or ("{text}", "{1}", "{2}")

    @cached_property
    def _places(self) -> dict[str, int]:
        named = {f"{{{name}}}": place for place, name in enumerate(self.names)}
        return {"{1}": 0, "{2}": 1, **({"{text}": 0} if len(self.names) < 2 else {}), **named}

    @cached_property
    def count(self) -> int:
        """How many fields the texts have."""
        return len(self.names) or (2 if "{2}" in self._parts else 1)

    @cached_property
    def plain(self) -> str:
        """The same sentence with `{text}`, or `{1}` and `{2}`, whatever the fields are called."""
        one = self.count == 1
        return "".join(
            ("{text}" if one else f"{{{self._places[part] + 1}}}") if part.startswith("{") else MASK if part == "<mask>" else part
            for part in self._parts
        )

    def filled(self, text: str) -> Filled:
        """The template with the fields of a text."""
        fields = fields_of(text, self.count)
        pieces = [
            f"{_START}{cleaned(fields[self._places[part]])}{_END}"
            if part.startswith("{")
            else _MASKED
            if part in (MASK, "<mask>")
            else part
            for part in self._parts
        ]
        return Filled(_FILLED + "".join(pieces))


@final
@dataclass(frozen=True)
class Filled:
    """A filled template as one string, in which control characters mark the fields and the mask, so that it can be stored as a text."""

    marked: str

    def text(self, mask: str) -> Prompt:
        """The prompt, with `mask` as the model spells it."""
        text, place, starts, fields = "", 0, list[int](), list[tuple[int, int]]()
        for piece in re.split(f"([{_START}{_END}{_MASKED}])", self.marked.removeprefix(_FILLED)):
            if piece == _START:
                starts.append(len(text))
            elif piece == _END:
                fields.append((starts.pop() if starts else 0, len(text)))
            elif piece == _MASKED:
                place = len(text)
                text += mask
            else:
                text += piece
        return Prompt(text, place, tuple(fields))


def is_filled(text: str) -> bool:
    """Whether a text is a filled template."""
    return text.startswith(_FILLED) and text.count(_MASKED) == 1


def texts_within(text: str) -> str:
    """The text without the words of its template, if it is a filled one: what near-duplicates are found by."""
    return " ".join(re.findall(f"{_START}([^{_END}]*){_END}", text)) if is_filled(text) else text


def readable_prompt(texts: Sequence[str], template: Template, mask: str = MASK) -> list[str]:
    """Prompts as the model reads them, for people."""
    return [template.filled(text).text(mask).text for text in texts]
