"""Methods as expressions: every recipe expands to a text that reads back, and changes its digest with any default."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.recipes.candidates import candidates
from fewtune.recipes.frozen import FROZEN
from fewtune.recipes.language import WORDS, read_method
from fewtune.spec import digest, parse, text


@pytest.mark.parametrize("recipe", FROZEN, ids=lambda r: r.__name__)
def test_a_recipe_reads_back_from_its_full_text(recipe: Callable[[], Method]) -> None:
    assert parse(text(recipe()), WORDS) == recipe() == read_method(recipe.__name__)
    assert recipe.__doc__


def test_a_call_is_expanded_before_it_is_hashed() -> None:
    assert digest(read_method("ridge(penalty=1)")) != digest(read_method("ridge(penalty=2)"))
    assert digest(read_method("centroid")) == digest(read_method("centroid(metric='cosine')")) == digest(read_method("Centroid()"))


@pytest.mark.parametrize("modality", ["image", "text", "vector"])
def test_candidates_go_by_the_text_that_spells_them(modality: str) -> None:
    for side in (False, True):
        for name, method in candidates(label_side=side, modality=modality).items():
            assert read_method(name) == method
    assert "svm" not in candidates(label_side=False, modality=modality, rows=10_000)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(InputError, match="is no method: expected one of centroid"):
        read_method("3")
    with pytest.raises(InputError, match="did you mean logistic"):
        read_method("logistics")
