"""The words that are checked before anything slow is imported are those of the language of methods."""

from __future__ import annotations

import pytest

from fewtune.errors import InputError
from fewtune.recipes.language import RECIPES, WORDS
from fewtune.recipes.spelled import PARTS, check_words
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
