"""Names on a map hide neither dots nor each other."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.report.drawing import TEXT, axes, room
from fewtune.report.figures_map import DOT, _names


@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_a_name_hides_no_dot_and_no_other_name(spread: float) -> None:
    from matplotlib.figure import Figure

    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 15)
    places = random.normal(size=(6, 2))[labels] * 2 + spread * random.normal(size=(len(labels), 2))
    ax = axes(Figure(figsize=(5, 5)), left=2, right=2, top=2, bottom=2)
    ax.set_xlim(-8, 8)
    ax.set_ylim(-8, 8)
    names = tuple(f"class number {k}" for k in range(6))
    _names(ax, places, labels, np.ones(len(labels), dtype=np.bool_), list(range(6)), names)
    units = 16 / 356
    boxes = [(*text.get_position(), 0.5 * room([text.get_text()]) * units, 0.7 * TEXT * units) for text in ax.texts]
    assert len(boxes) >= 4 and {text.get_text() for text in ax.texts} <= set(names)
    for i, (x, y, half, tall) in enumerate(boxes):
        assert not ((abs(places[:, 0] - x) < half + DOT * units) & (abs(places[:, 1] - y) < tall + DOT * units)).any()
        assert all(abs(x - a) > half + b or abs(y - c) > 2 * tall for j, (a, c, b, _) in enumerate(boxes) if j != i)
        assert x - half >= -8 and x + half <= 8 and y - tall >= -8 and y + tall <= 8
