"""Names that read the same."""

from __future__ import annotations

import unicodedata

import pytest

from fewtune.data.twins import difference, folded, twins

CAFE = unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("Dress", "dress", "case"),
        ("STRASSE", "straße", "case"),
        ("café", CAFE, "how accents are stored"),
        ("Café", CAFE, "case"),
        ("red  ant", "red ant", "blanks or invisible marks"),
        ("ant ", "ant", "blanks or invisible marks"),
        ("a\u200bnt", "ant", "blanks or invisible marks"),
        ("red\u00a0ant", "red ant", "blanks or invisible marks"),
    ],
)
def test_twins_are_found_and_their_difference_named(one: str, other: str, how: str) -> None:
    assert folded(one) == folded(other)
    assert twins([one, "else", other]) == [(one, other)]
    assert difference((one, other)) == how


def test_several_differences() -> None:
    assert difference(("Café", "café", CAFE)) == "how accents are stored and case"


@pytest.mark.parametrize(("one", "other"), [("cafe", "café"), ("a b", "ab"), ("x2", "x\u00b2"), ("1", "01"), ("nan", "none")])
def test_other_names_are_no_twins(one: str, other: str) -> None:
    assert twins([one, other]) == [] and twins([one, one]) == []
