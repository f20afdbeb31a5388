"""What may move the backbone, in words, and by which methods."""

from __future__ import annotations

import pytest

from fewtune.adaptation.settings import AdaptSettings
from fewtune.errors import InputError
from fewtune.learning.phase import Adapt
from fewtune.sides.own import own_method
from fewtune.sides.settings import CONTRASTIVE, FINETUNE, MORE, USUAL, WITH_HEAD, OwnSettings


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
    assert OwnSettings().chosen("vector", "auto") == OwnSettings().chosen("vector", "all") == ()
    mine = ("lora(on='support')",)
    for word in ("auto", "own", "all"):
        assert OwnSettings(recipes=mine).chosen("vector", word) == mine  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", [*sorted({r for recipes in USUAL.values() for r in recipes}), *MORE])
def test_every_method_that_is_tried_trains_on_the_labels_themselves(recipe: str) -> None:
    assert isinstance(own_method(recipe).learner, Adapt)


@pytest.mark.parametrize("recipe", ["ridge", "contrastive", "multitask", "contrastive(on='source')"])
def test_a_method_that_does_not_is_refused(recipe: str) -> None:
    with pytest.raises(InputError, match="does not train on your own labels: expected a method such as contrastive"):
        OwnSettings(recipes=(recipe,))
