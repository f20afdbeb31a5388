"""`--method`: a frozen learner, a method on own labels, or one on other data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fewtune
from fewtune.adaptation.by_method import by_method
from fewtune.adaptation.settings import AdaptSettings
from fewtune.errors import InputError
from fewtune.recipes import read_method

PLAIN = AdaptSettings(seed=3)
FROZEN, OWN, SOURCES = "ridge(penalty=10)", "contrastive(on='support')", "multitask(shots=5)"


def test_without_a_method_all_learners_that_suit_are_tried() -> None:
    assert by_method(PLAIN, None) == (PLAIN, None)


@pytest.mark.parametrize(("asked", "left"), [("auto", "never"), ("never", "never"), ("sources", "sources"), ("own", "own"), ("all", "all")])
def test_a_frozen_method_is_the_only_learner(asked: Any, left: str) -> None:
    how, methods = by_method(AdaptSettings(finetune=asked, seed=3), FROZEN)
    assert methods == {FROZEN: read_method(FROZEN)} and how.finetune == left and how.seed == 3
    assert how.own.recipes == () and how.sources.recipe is None


@pytest.mark.parametrize(("asked", "left"), [("auto", "own"), ("own", "own"), ("all", "all")])
def test_a_method_that_trains_on_a_support_is_how_own_labels_are_used(asked: Any, left: str) -> None:
    how, methods = by_method(AdaptSettings(finetune=asked, seed=3), OWN)
    assert methods is None and how.finetune == left and how.own.recipes == (OWN,)
    assert how.sources == PLAIN.sources and how.seed == 3


@pytest.mark.parametrize(("asked", "left"), [("auto", "sources"), ("sources", "sources"), ("all", "all")])
def test_a_method_with_source_phases_is_how_other_data_is_used(asked: Any, left: str) -> None:
    how, methods = by_method(AdaptSettings(finetune=asked, seed=3), SOURCES)
    assert methods is None and how.finetune == left and how.sources.recipe == SOURCES
    assert how.own == PLAIN.own and how.seed == 3


@pytest.mark.parametrize(
    ("asked", "method", "said"),
    [
        ("never", OWN, "finetunes on your own labels, but finetune is 'never': give one or the other"),
        ("sources", OWN, "finetunes on your own labels, but finetune is 'sources'"),
        ("never", SOURCES, "finetunes on other data, but finetune is 'never'"),
        ("own", SOURCES, "finetunes on other data, but finetune is 'own'"),
        ("auto", "nonsense", "unknown name 'nonsense'"),
        ("auto", "multitask(steps=-3)", "expected steps >= 0"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(asked: Any, method: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        by_method(AdaptSettings(finetune=asked), method)
    assert "\n" not in str(refused.value)


def test_python_takes_all_three() -> None:
    """On embeddings there are no weights to finetune, which is said."""
    x, y = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), [f"c{i % 2}" for i in range(40)]
    assert fewtune.adapt((x, y), method="ridge").bundle.method.startswith("Method(edits=(), phases=(), learner=Ridge(")
    with pytest.raises(InputError, match="has no weights to finetune"):
        fewtune.adapt((x, y), method=OWN)
    with pytest.raises(InputError, match="other data was asked for, but there is none"):
        fewtune.adapt((x, y), method=SOURCES)
