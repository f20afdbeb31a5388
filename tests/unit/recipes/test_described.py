"""What is said of methods and parts is what their signatures and docstrings say."""

from __future__ import annotations

import inspect

import pytest

from fewtune.errors import InputError
from fewtune.recipes.described import described
from fewtune.recipes.language import RECIPES, WORDS
from fewtune.report.methods import render_methods


def test_every_word_of_the_language_is_described() -> None:
    assert [one.name for one in described()] == [recipe.__name__ for recipe in RECIPES]
    every = described(parts=True)
    assert {one.name for one in every} == set(WORDS) and len(every) == len(set(WORDS))
    assert all(one.line for one in every)


def test_options_and_defaults_read_back_as_the_signature() -> None:
    for one in described():
        parameters = inspect.signature(WORDS[one.name]).parameters
        assert [option.name for option in one.options] == list(parameters)
        needed = [option.name for option in one.options if option.default is None]
        assert needed == [name for name, p in parameters.items() if p.default is p.empty]
    (ridge,) = described("ridge")
    assert [(o.name, o.type, o.default) for o in ridge.options] == [
        ("penalty", "float | Literal['loo']", "'loo'"),
        ("normalize", "bool", "True"),
    ]


def test_references_are_the_sentence_or_the_names_with_years() -> None:
    assert described("surgical")[0].reference.startswith("Lee et al., ")
    assert described("surgical")[0].reference.endswith("ICLR 2023")
    assert described("centroid")[0].reference == "Snell et al. 2017; Xu et al. 2024"
    assert described("l2_sp")[0].reference == "Li, Grandvalet, Davoine, ICML 2018"
    assert "Reference" not in described("bitfit")[0].line
    assert described("blend")[0].reference == ""


def test_a_word_looks_into_names_and_descriptions() -> None:
    assert {"maml", "fomaml"} <= {one.name for one in described("FINN")}
    assert "anil" not in {one.name for one in described("Finn")}
    assert [one.name for one in described("Cosine")] == ["Cosine"]  # a part by its exact name
    with pytest.raises(InputError, match="but parts of methods do: add --parts"):
        described("Kingma")
    with pytest.raises(InputError, match="unknown method 'rigde': did you mean ridge"):
        described("rigde")


def test_one_alone_is_shown_whole_and_several_as_a_table() -> None:
    shown = render_methods(described("svm"), "table")
    assert "Departs" in shown and "must be given" not in shown and "crammer_singer" in shown
    assert "group" in render_methods(described("surgical"), "table") and "must be given" in render_methods(described("surgical"), "table")
    table = render_methods(described(), "table", width=120)
    assert max(map(len, table.splitlines())) <= 120 and "metric='cosine'" in table
