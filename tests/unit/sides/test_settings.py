"""What may move the backbone, in words, and by which methods."""

from __future__ import annotations

import pytest

from fewtune.adaptation.settings import AdaptSettings
from fewtune.errors import InputError
from fewtune.learning.phase import Adapt
from fewtune.sides.own import own_method
from fewtune.sides.settings import CONTRASTIVE, FINETUNE, MORE, NAMED, SETTINGS, USUAL, WITH_HEAD, WITH_VIEWS, OwnSettings

EVERY = (*sorted({recipe for recipes in (*USUAL.values(), *SETTINGS.values()) for recipe in recipes}), *MORE, NAMED, WITH_VIEWS)


def test_every_word_is_taken_and_no_other() -> None:
    assert FINETUNE == ("auto", "never", "own", "sources", "all")
    assert [AdaptSettings(finetune=word).finetune for word in FINETUNE] == list(FINETUNE)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one of auto, never, own, sources, all, found 'always'"):
        AdaptSettings(finetune="always")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 0 repeats of the folds, found -1"):
        OwnSettings(repeats=-1)
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="a budget above 0 minutes"):
            AdaptSettings(minutes=minutes)


def test_what_is_tried_on_own_labels() -> None:
    assert OwnSettings().chosen("text", "auto") == (CONTRASTIVE,) and OwnSettings().chosen("image", "own") == (WITH_HEAD,)
    assert OwnSettings().chosen("text", "all") == (CONTRASTIVE, *MORE)
    assert OwnSettings().chosen("image", "all") == (WITH_HEAD, *MORE, WITH_VIEWS)
    assert OwnSettings().chosen("image", "auto", label_side=True) == (WITH_HEAD, NAMED)
    assert OwnSettings().chosen("text", "auto", label_side=True) == (CONTRASTIVE,)
    assert OwnSettings().chosen("vector", "auto") == OwnSettings().chosen("vector", "all") == ()
    mine = ("lora(on='support')",)
    for word in ("auto", "own", "all"):
        assert OwnSettings(recipes=mine).chosen("vector", word) == mine  # type: ignore[arg-type]


def test_settings_are_chosen_among_where_all_is_asked_for() -> None:
    for modality in ("text", "image"):
        first, *others = OwnSettings().settings(modality, "all")  # type: ignore[arg-type]
        assert first == USUAL[modality][0] and len({own_method(r) for r in (first, *others)}) == 5
        assert OwnSettings().settings(modality, "auto") == ()  # type: ignore[arg-type]
    assert OwnSettings().settings("vector", "all") == () and OwnSettings(recipes=("lora(on='support')",)).settings("text", "all") == ()


@pytest.mark.parametrize("recipe", EVERY)
def test_every_method_that_is_tried_trains_on_the_labels_themselves(recipe: str) -> None:
    assert isinstance(own_method(recipe).learner, Adapt)


@pytest.mark.parametrize("recipe", ["ridge", "contrastive", "multitask", "contrastive(on='source')"])
def test_a_method_that_does_not_is_refused(recipe: str) -> None:
    with pytest.raises(InputError, match="does not train on your own labels: expected a method such as contrastive"):
        OwnSettings(recipes=(recipe,))
