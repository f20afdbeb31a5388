"""How texts are read, as options of a backbone's name: the template and label words of prompts, two fields, long texts.

A saved model keeps the name of its backbone, and so all of this. Commas and other marks inside a value are written as %2C and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final
from urllib.parse import unquote

from fewtune.data.examples import Examples
from fewtune.data.prompts.shipped import read_template
from fewtune.data.prompts.template import Template
from fewtune.data.prompts.words import LabelWords, read_words
from fewtune.errors import InputError

ENCODED = ("template", "words", "fields")
_MARKS = "%,;"
_INSIDE = "%,;=/"


@final
@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What is asked for texts. `template`: a sentence or the name of a task. `words`: as `read_words` takes them. `fields`: the names of
    the columns, if there are two. `pair`: whether an encoder reads them apart or together. `long`: whether long texts are cut, or read in
    windows whose features are averaged."""

    template: str | None = None
    words: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    pair: Literal["apart", "together"] | None = None
    long: Literal["cut", "mean"] | None = None

    def check(self) -> None:
        """Raise InputError for a template, words or fields that cannot be; no model is needed."""
        if len(self.fields) > 2:
            raise InputError(f"expected one or two text columns with --input, found {len(self.fields)}: {', '.join(self.fields)}.")
        if self.words and self.template is None:
            raise InputError("--words are the answers to a prompt: give its --template too.")
        if self.template is not None:
            if self.pair is not None or self.long is not None:
                raise InputError("a template says where both texts go and cuts them to fit: leave out --pair and --long.")
            template, _ = template_of(self.template, self.fields)
            if template.count == 2 and not self.fields:
                raise InputError(f"the template {self.template!r} needs two text columns: give their names, --input FIRST SECOND.")
            read_words(self.words)
        elif self.pair is not None and len(self.fields) < 2:
            raise InputError("--pair is for two text columns: give their names, --input FIRST SECOND.")

    def check_for(self, examples: Examples) -> None:
        """Raise InputError where texts are to be read in some way, and the rows are none."""
        if self != TextOptions() and examples.modality != "text":
            what = "a template, label words, pairs and long texts are for texts"
            raise InputError(f"{what}, but {examples.name} holds {examples.modality}s.")

    def onto(self, name: str, class_names: Sequence[str] = ()) -> str:
        """The name of a backbone with these options. `class_names`: the shipped words of other classes are left out."""
        self.check()
        options: dict[str, str] = {}
        if self.template is not None:
            template, shipped = template_of(self.template, self.fields)
            given = read_words(self.words)
            if class_names:
                given.check(class_names)
            own = {c: given.of(c) if given.has(c) else shipped.of(c) for c in class_names if given.has(c) or shipped.has(c)}
            words = LabelWords(own if class_names else {**shipped.words, **given.words})
            options |= {"template": template.plain, **({"words": words.text} if words.words else {})}
        if len(self.fields) > 1:
            options["fields"] = "/".join(_encoded(field, _INSIDE) for field in self.fields)
            if self.template is None and self.pair is not None:
                options["pair"] = self.pair
        if self.long is not None:
            options["long"] = self.long
        return name + "".join(f",{key}={_encoded(value, _MARKS) if key == 'template' else value}" for key, value in options.items())


def template_of(given: str, fields: Sequence[str] = ()) -> tuple[Template, LabelWords]:
    """The template of an option's value, and the words that come with it. `fields`: the names of the fields."""
    return read_template(given, tuple(fields) if len(fields) > 1 else ())


def words_in(value: str, shipped: LabelWords) -> LabelWords:
    """The label words in an option's value, `class=word/word;class=word`, beside those of a shipped task."""
    found = dict(shipped.words)
    for part in filter(None, value.split(";")):
        name, equals, words = part.partition("=")
        if not equals or not name or not words:
            raise InputError(f"words are class=word;class=word, found {part!r}.")
        found[unquote(name)] = tuple(unquote(word) for word in words.split("/"))
    return LabelWords(found)


def fields_in(value: str) -> tuple[str, ...]:
    """The names of the fields in an option's value."""
    return tuple(unquote(part) for part in value.split("/") if part)


def fields_of_name(name: str) -> tuple[str, ...]:
    """The names of the two texts that a backbone reads, by its name; none where it reads one."""
    return next((fields_in(part.removeprefix("fields=")) for part in name.split(",") if part.startswith("fields=")), ())


def _encoded(value: str, marks: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in marks or ord(c) < 32 else c for c in value)
