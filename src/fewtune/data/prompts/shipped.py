"""The templates and label words that come with fewtune: a small file for each task, in `tasks/`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from fewtune.data.examples import Examples
from fewtune.data.items import Items, Modality, content_digest
from fewtune.data.prompts.template import MASK, Template
from fewtune.data.prompts.words import BETWEEN, LabelWords
from fewtune.data.subset import Subset, subset
from fewtune.errors import InputError

_TASKS = Path(__file__).parent / "tasks"


@final
@dataclass(frozen=True)
class Prompting:
    """How a task is asked: its template and the words of its classes."""

    template: Template
    words: LabelWords


def shipped_tasks() -> tuple[str, ...]:
    """The names of the tasks that come with a template."""
    return tuple(sorted(file.stem for file in _TASKS.glob("*.toml")))


def shipped(name: str, names: Sequence[str] = ()) -> Prompting | None:
    """The template and words of a task, None if there are none. Digits at the end of a name do not matter, nor do capitals.

    `names`: the names of the fields of the texts.
    """
    folded = name.casefold().replace("-", "").replace("_", "")
    tasks = shipped_tasks()
    found = next((task for task in (folded, folded.rstrip("0123456789")) if task in tasks), None)
    if found is None:
        return None
    read = tomllib.loads((_TASKS / f"{found}.toml").read_text(encoding="utf-8"))
    words = {str(name): (word,) if isinstance(word, str) else tuple(word) for name, word in read["words"].items()}
    return Prompting(Template(str(read["template"]), _if_as_many(read["template"], names)), LabelWords(words))


def _if_as_many(sentence: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the fields, where the texts have as many fields as the template."""
    return tuple(names) if len(names) == Template(sentence).count else ()


def read_template(given: str, names: Sequence[str] = ()) -> tuple[Template, LabelWords]:
    """A template that somebody typed, or that of a task by its name with its label words.

    Raises InputError for a name that is unknown, and for a sentence that is no template.
    """
    if "{" not in given and MASK not in given:
        if (known := shipped(given, names)) is None:
            tasks = ", ".join(shipped_tasks())
            raise InputError(f"unknown template {given!r}: expected a sentence such as '{{text}} It was [MASK].', or one of {tasks}.")
        return known.template, known.words
    return Template(given, tuple(names)), LabelWords()


@final
@dataclass(frozen=True, eq=False)
class Prompted:
    """Texts in a template of their own, whatever the template of the backbone is."""

    whole: Items
    template: Template

    @property
    def modality(self) -> Modality:
        return "text"

    def __len__(self) -> int:
        return len(self.whole)

    def locate(self, row: int) -> tuple[Items, int]:
        """The items that hold the bare text of a row, and its number there."""
        return self.whole, row

    def fetch(self, row: int, size_hint: int | None = None) -> str:
        return self.template.filled(str(self.whole.fetch(row, size_hint))).marked

    def digest(self, row: int) -> bytes:
        return content_digest(self.fetch(row).encode(errors="surrogatepass"))


def unprompted(examples: Examples) -> Examples:
    """The same collection without the templates around its texts: what duplicates are found by."""
    items = examples.items
    if isinstance(items, Prompted):
        return replace(examples, items=items.whole)
    if isinstance(items, Subset) and isinstance(items.whole, Prompted):
        return replace(examples, items=subset(items.whole.whole, items.rows))
    return examples


def prompted(examples: Examples, template: Template, words: LabelWords) -> Examples:
    """The same collection with its own template around each text, and with label words as the names of its classes.

    So collections that are asked in different ways train one backbone. The words of a class with several are joined by `BETWEEN`.
    """
    names = tuple(BETWEEN.join(words.of(name)) for name in examples.class_names)
    column = replace(examples.column, names=names)
    return replace(examples, items=Prompted(examples.items, template), columns={**examples.columns, examples.target: column})
