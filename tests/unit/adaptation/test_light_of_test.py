"""The light after measuring: the same rules as after `adapt`, on measured numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.adaptation.verdict import guess_among, light_of_test
from fewtune.statistics import wilson_interval


@pytest.mark.parametrize(
    ("right", "of", "guessing", "recall", "light", "word"),
    [
        (99, 100, 0.5, {"a": 0.98, "b": 1.0}, "ready", "no class is often wrong"),
        (99, 100, 0.5, {"a": 0.69, "b": 1.0}, "review", "\u201ca\u201d is too often wrong: 69% are right"),
        (99, 100, 0.5, {"a": 0.7, "b": 1.0}, "ready", "no class"),
        (80, 100, 0.5, {"a": 0.8, "b": 0.8}, "review", "the estimate is rough, it may be as low as 7 of 10"),
        (320, 400, 0.5, {"a": 0.8, "b": 0.8}, "review", "2 of 10 answers are wrong"),
        (70, 100, 0.5, {"a": 0.7, "b": 0.7}, "not ready", "nearer to guessing"),
        (52, 100, 0.5, {"a": 0.5, "b": 0.5}, "not ready", "no better than guessing"),
        (5, 5, 1.0, {"a": 1.0}, "not ready", "no better than guessing"),  # one class alone: guessing is always right
    ],
)
def test_the_light(right: int, of: int, guessing: float, recall: dict[str, float], light: str, word: str) -> None:
    found, reason = light_of_test(wilson_interval(right, of), guessing, recall)
    assert found == light and word in reason


def test_guessing_knows_the_largest_class() -> None:
    assert guess_among(np.array([5, 5, 5]), ("a", "b", "c")) == (1 / 3, "guessing would get 1 of 3")
    assert guess_among(np.array([8, 1, 1]), ("a", "b", "c")) == (0.8, "always saying \u201ca\u201d would get 8 of 10")
