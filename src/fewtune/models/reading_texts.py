"""The backbone for a collection: what the collection's texts are decides how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples
from fewtune.data.prompts import LabelWords, Template, prompted, shipped
from fewtune.data.reading.two_texts import check_fields, fields_named
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone, run_folder

NO_OPTIONS = TextOptions()


def backbone_for(
    examples: Examples,
    backbone: Backbone | str | None,
    texts: TextOptions = NO_OPTIONS,
    *,
    weights: Path | None = None,
    machine: Machine | None = None,
) -> Backbone:
    """The backbone for these rows: its name with the options of `texts` and the names of the rows' two fields, or one that is loaded.

    Label words are checked at once. Raises InputError for options that do not fit the data or the backbone.
    """
    fields = fields_named(examples)
    asked = replace(texts, fields=texts.fields or (fields if len(fields) > 1 else ()))
    texts.check_for(examples)
    if isinstance(backbone, Backbone):
        if texts != NO_OPTIONS:
            raise InputError(f"{backbone.name} is loaded already, and reads texts in its own way: give its name instead.")
        made = backbone
    else:
        name = chosen(backbone, examples.modality)
        made = load_backbone(_with_options(name, asked, examples), weights=weights, machine=machine)
    if examples.modality == "text" and isinstance(made.preparation, TextPreparation):
        check_fields(examples, made.preparation.fields)
    if made.answers_prompts and made.texts is not None and examples.column.kind == "class":
        _check_words(made, examples.class_names, examples.class_names)  # a word that the model does not have is an error before any work
    return made


def _check_words(backbone: Backbone, class_names: Sequence[str], shown: Sequence[str]) -> None:
    """Raise InputError for a label word that is not one token, and for two classes with the same ones, of which one would never be
    answered. `shown`: the names of the classes for people."""
    assert backbone.texts is not None
    tokens = backbone.texts(class_names)
    known: dict[tuple[int, ...], str] = {}
    for name, ids, share in zip(shown, tokens["ids"].tolist(), tokens["share"].tolist(), strict=True):
        words = tuple(sorted(token for token, part in zip(ids, share, strict=True) if part))
        if words in known:
            raise InputError(
                f"the classes {known[words]!r} and {name!r} have the same label word for {backbone.name}, so they cannot be told apart: "
                f"give another with --words {name!r}=WORD."
            )
        known[words] = name


def _with_options(name: str, asked: TextOptions, examples: Examples) -> str:
    if run_folder(name) is not None:  # it reads texts as it did
        if replace(asked, fields=()) != NO_OPTIONS:
            raise InputError(
                f"{name} reads texts as it did when it was saved: leave out --template, --words, --pair and --long (of a pretraining by "
                "masked words, give hf:FOLDER/backbone)."
            )
        return name
    given = {part.partition("=")[0] for part in name.split(",")[1:]}
    if "fields" in given:
        asked = replace(asked, fields=())
    names = examples.class_names if examples.modality == "text" and examples.column.kind == "class" else ()
    return asked.onto(name, names) if asked != NO_OPTIONS else name


def sources_for(backbone: Backbone, sources: Sequence[Examples]) -> tuple[Examples, ...]:
    """Other labelled data in the reading of a backbone. For one that answers prompts, each collection is asked in its own way: by the
    template and words of the common task of its name, else by the backbone's template and the names of its classes.

    Raises InputError for a class without a word of one token or with the word of another class, and where one text is given where the
    backbone reads two.
    """
    preparation = backbone.preparation
    if not isinstance(preparation, TextPreparation) or preparation.template is None or backbone.texts is None:
        for source in sources:
            if isinstance(preparation, TextPreparation) and source.modality == "text":
                check_fields(source, preparation.fields)
        return tuple(sources)
    return tuple(_prompted(backbone, preparation.template, source) for source in sources)


def _prompted(backbone: Backbone, template: Template, source: Examples) -> Examples:
    fields = fields_named(source)
    own = shipped(source.name, fields)
    if own is not None and own.template.count == max(1, len(fields)):
        made = prompted(source, own.template, own.words)
    else:
        check_fields(source, template.names if template.count == 2 else ())
        made = prompted(source, template, LabelWords())
    try:
        _check_words(backbone, made.class_names, source.class_names)
    except InputError as problem:
        raise InputError(f"{source.name}: {problem}") from None
    return made
