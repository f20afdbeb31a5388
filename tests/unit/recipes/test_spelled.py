"""The words that are checked before anything slow is imported are those of the language of methods."""

from __future__ import annotations

import pytest

from fewtune.errors import InputError
from fewtune.parts.aggregators import TorchJd
from fewtune.recipes.language import RECIPES, WORDS, read_method
from fewtune.recipes.spelled import PARTS, check_words, spelled_out
from fewtune.recipes.spelled import RECIPES as NAMES


def test_the_words_are_those_of_the_language() -> None:
    assert {recipe.__name__ for recipe in RECIPES} == NAMES
    assert set(WORDS) == NAMES | PARTS


@pytest.mark.parametrize(
    "text", ["ridge(penalty=10)", "Method(learner=Blend(heads=(Ridge(), Text())))", "ridge(penalty=inf)", "((", "ridge(x='y')"]
)
def test_right_words_and_what_is_no_method_pass(text: str) -> None:
    check_words(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("centrod", "unknown method 'centrod': did you mean centroid"),
        ("rigde(penalty=10)", "unknown method 'rigde': did you mean ridge"),
        ("multitask(head=Rigde())", "unknown name 'Rigde': did you mean ridge"),
    ],
)
def test_a_misspelt_word_is_told_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_words(text)


@pytest.mark.parametrize("aggregator", ["torchjd:DualProj", "'torchjd:DualProj'", '"torchjd:DualProj"', "TorchJd(name='DualProj')"])
def test_an_aggregator_of_torchjd_by_its_name_there(aggregator: str) -> None:
    text = f"shared_bottom(steps=3, aggregator={aggregator})"
    check_words(text)
    (phase,) = read_method(text).phases
    assert phase.aggregator == TorchJd(name="DualProj")  # type: ignore[union-attr]


def test_other_words_with_a_colon_stay() -> None:
    for text in ("only('group:torchjd', 1e-3)", "only('group:blocks.torchjd:a', 1e-3)", "mytorchjd:UPGrad", "ridge(penalty=10)"):
        assert spelled_out(text) == text
    with pytest.raises(InputError, match="unknown name 'Ridgee'"):
        check_words("shared_bottom(aggregator=torchjd:UPGrad, head=Ridgee())")
