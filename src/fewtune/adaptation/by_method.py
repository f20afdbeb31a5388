"""`--method`: one word for a frozen learner, a method on own labels, or a method on other data."""

from __future__ import annotations

from dataclasses import replace

from fewtune.adaptation.settings import AdaptSettings
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.recipes.language import read_method
from fewtune.words import option


def check_sources(settings: AdaptSettings, given: bool) -> None:
    """Raise InputError where finetuning on other data was asked for, and none is given."""
    if settings.finetune == "sources" and not given:
        raise InputError(f"finetuning on other data was asked for, but there is none: give {option('--source DATA', 'sources=[...]')}.")


def by_method(settings: AdaptSettings, text: str | None) -> tuple[AdaptSettings, dict[str, Method] | None]:
    """(the settings, the learners to choose from) where a method is named; None: all learners that suit.

    A frozen method is the only learner, and nothing is finetuned unless `finetune` asks for it. A method that trains on a support is how
    own labels are finetuned on, one with source phases how other data is. Raises InputError where `finetune` says otherwise.
    """
    if text is None:
        return settings, None
    method = read_method(text)
    if method.frozen:
        return replace(settings, finetune="never" if settings.finetune == "auto" else settings.finetune), {text: method}
    kind = "sources" if method.phases else "own"
    if settings.finetune not in ("auto", "all", kind):
        where = "other data" if method.phases else "your own labels"
        raise InputError(f"{text!r} finetunes on {where}, but finetune is {settings.finetune!r}: give one or the other.")
    finetune = kind if settings.finetune == "auto" else settings.finetune
    if kind == "own":
        return replace(settings, finetune=finetune, own=replace(settings.own, recipes=(text,))), None  # type: ignore[arg-type]
    return replace(settings, finetune=finetune, sources=replace(settings.sources, recipe=text)), None  # type: ignore[arg-type]
