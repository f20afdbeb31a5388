"""The text that is on every machine."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewtune.data import docstrings
from fewtune.data.docstrings import LEAST_ROWS, LEAST_WORDS, MOST_ROWS, SUBPACKAGES, docstring_examples, docstring_target, paragraph


@pytest.mark.slow
def test_sources_and_target() -> None:
    space, target = docstring_examples()
    assert len(space) > 1500 and len(space.class_names) > 35 and set(space.group_names) == {"scikit-learn", "standard library"}
    assert target.class_names == tuple(sorted(SUBPACKAGES)) and target.counts().min() >= LEAST_ROWS
    assert space.counts().max() <= MOST_ROWS and target.counts().max() <= MOST_ROWS
    for examples in (space, target):
        texts = [str(examples.items.fetch(row)) for row in range(len(examples))]
        assert len({t.casefold() for t in texts}) == len(texts)
        assert all("\n" not in t and "`" not in t and len(t.split()) >= LEAST_WORDS for t in texts)
        names = [examples.class_names[label] for label in examples.labels]
        assert not [t for t, name in zip(texts, names, strict=True) if re.search(rf"\b{name}\b", t, re.IGNORECASE)]


def test_the_same_files_give_the_same_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the sub-packages: none of their texts says its own name, and none is there twice."""
    monkeypatch.setattr(docstrings, "SUBPACKAGES", SUBPACKAGES[:2])
    target, again = docstring_target(), docstring_target()
    assert target.class_names == ("integrate", "interpolate") and target.counts().min() >= LEAST_ROWS
    texts = [str(target.items.fetch(row)).casefold() for row in range(len(target))]
    assert len(set(texts)) == len(texts)
    assert not [t for t, label in zip(texts, target.labels, strict=True) if re.search(rf"\b{target.class_names[label]}\b", t)]
    assert again.digest() == target.digest() and np.array_equal(again.labels, target.labels)


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        (None, None),
        ("Too short.", None),
        ("butter(N, Wn)\n\nDesign a filter with the given order.", None),
        ("butter(N, Wn) -> b, a", None),
        (".. deprecated:: 1.0 use something else instead of this", None),
        (
            "Solve ``a x = b`` with\n    :func:`scipy.linalg.solve`, see :class:`~a.b.Thing`.\n\n    More.",
            "Solve a x = b with solve, see Thing.",
        ),
        ("Return the *weighted* mean, e.g. of `x` over 0.5 and 1.5.", "Return the weighted mean, e.g. of x over 0.5 and 1.5."),
    ],
)
def test_first_paragraphs(docstring: str | None, text: str | None) -> None:
    assert paragraph(docstring) == text
