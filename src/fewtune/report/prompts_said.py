"""What a prompt looks like: the first texts in their template, and the word of each class, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from fewtune.backbones.providers.text_options import TextOptions, template_of
from fewtune.data.examples import Examples
from fewtune.data.fields import fields_of, joined
from fewtune.data.prompts import MASK, LabelWords, read_words
from fewtune.data.reading.two_texts import check_fields, fields_named
from fewtune.errors import InputError

SHOWN, LONGEST = 3, 60  # prompts, and characters of a field in them


@final
@dataclass(frozen=True)
class PromptsSaid:
    """`prompts`: the first texts, shortened, in the template. `words`: of each class. `cut`: how many texts the model cannot read whole."""

    prompts: Sequence[str]
    words: Mapping[str, Sequence[str]]
    cut: Sequence[str] = ()

    @property
    def sentences(self) -> list[str]:
        """All of it, a line each."""
        if not self.prompts:
            return list(self.cut)
        words = ", ".join(f"{name}: {' or '.join(own)}" for name, own in self.words.items())
        return ["Prompts, long texts shortened here:", *(f"  {prompt}" for prompt in self.prompts), f"Label words: {words}", *self.cut]


def prompts_said(examples: Examples, asked: TextOptions, cut: Sequence[str] = ()) -> PromptsSaid:
    """The prompts of a collection. Raises InputError for a template that does not fit its texts, and for words of other classes."""
    if examples.modality != "text" or asked.template is None:
        raise InputError(f"a template is for texts, but {examples.name} holds {examples.modality}s.")
    fields = fields_named(examples)
    template, shipped = template_of(asked.template, fields)
    check_fields(examples, template.names or (("1", "2") if template.count == 2 else ()))
    given = read_words(asked.words)
    given.check(examples.class_names)
    words = LabelWords({**shipped.words, **given.words})
    shown = []
    for row in range(min(SHOWN, len(examples))):
        parts = [_short(part) for part in fields_of(str(examples.items.fetch(row)), template.count)]
        shown.append(template.filled(joined(parts)).text(MASK).text)
    return PromptsSaid(shown, {name: words.of(name) for name in examples.class_names}, cut)


def _short(text: str) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 3].rstrip()}..."
