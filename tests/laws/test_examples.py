"""The examples in docstrings run. They name parts as the text of a method does."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import pytest

import fewtune
from fewtune import recipes
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Average, Phase
from fewtune.recipes import RECIPES, WORDS
from fewtune.recipes.shared_defaults import defaults, typed

DOOR = (fewtune.adapt, fewtune.compare, fewtune.load, fewtune.Comparison, fewtune.FewShotClassifier, fewtune.testing)
SHOWN = (*RECIPES, Method, Phase, Adapt, Average, defaults, typed, recipes, *DOOR)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_its_example_runs(shown: Callable[..., Any]) -> None:
    words = {**WORDS, "Method": Method, "defaults": defaults, "typed": typed}
    (example,) = doctest.DocTestFinder(recurse=False).find(shown, shown.__name__, module=False, globs=words)
    assert example.examples, f"{shown.__name__} has no example"
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert not failed, "".join(said)
