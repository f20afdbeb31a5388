"""Class names that mean the same class."""

from __future__ import annotations

import unicodedata

import pytest

from fewtune.data.same_names import match_names, matched_in_words

CAFE = "caf\u00e9"
SPLIT_UP = unicodedata.normalize("NFD", CAFE)


@pytest.mark.parametrize(
    ("name", "known", "place"),
    [
        ("dog", ["cat", "dog"], 1),
        ("Dog", ["cat", "dog"], 1),
        (" dog ", ["cat", "dog"], 1),
        ("Sea  Lion", ["sea lion", "lion"], 0),
        (SPLIT_UP, ["cat", CAFE], 1),
        (SPLIT_UP.upper(), ["cat", CAFE], 1),
        ("STRASSE", ["stra\u00dfe"], 0),
        ("fox", ["cat", "dog"], -1),
        ("dog", ["Dog", "dog"], 1),  # the very same name comes first
        ("DOG", ["Dog", "dog"], -1),  # it could be either
        (SPLIT_UP, [CAFE.upper(), CAFE], 1),  # the form of the accent before the case
        ("Cafe", [CAFE], -1),  # another word
    ],
)
def test_a_name_fits_the_one_that_differs_least(name: str, known: list[str], place: int) -> None:
    assert match_names([name], known) == [place]


def test_many_names_at_once() -> None:
    names = [f"c{i}" for i in range(20_000)]
    assert match_names([name.upper() for name in names], names) == list(range(20_000))


def test_what_was_matched_is_said() -> None:
    said = "Class names were matched though they differ in case, blanks or how accents are stored: 'Cat' for 'cat', 'DOG' for 'dog'."
    assert matched_in_words([("DOG", "dog"), ("Cat", "cat"), ("Cat", "cat"), ("fox", "fox")]) == [said]
    assert matched_in_words([("fox", "fox")]) == []
