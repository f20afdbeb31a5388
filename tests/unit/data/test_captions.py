"""Captions as classes: own ones first, class names in templates else, equal texts one class, long ones cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.data.captions import MOST_WORDS, captioned, captions_said
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.keys import key

KEY, TEMPLATES = key(0, "templates"), ("a photo of a {}.", "one {}")


def rows(labels: list[str | None], captions: list[str] | None = None) -> Examples:
    made = make_examples(Vectors(np.zeros((len(labels), 2), dtype=np.float32)), labels, name="birds")
    return replace(made, caption=captions)


def texts(examples: Examples) -> list[str | None]:
    return [examples.class_names[k] if k >= 0 else None for k in examples.labels.tolist()]


def test_a_row_has_its_own_caption_else_its_class_name_in_a_template_else_none() -> None:
    found = captioned(rows(["wren", "robin", None, "big_owl"], ["a  small\nwren", "", "", "  "]), ("one {}",), KEY)
    assert texts(found.examples) == ["a small wren", "one robin", None, "one big owl"]
    assert (found.own, found.named, found.without) == (1, 2, 1)
    said = captions_said(found)
    assert said == (
        "birds: 1 row with a caption, 2 rows paired with the class name in a template, 1 row without either, not used; 3 different texts."
    )
    assert found.examples.columns["label"].names == ("big_owl", "robin", "wren")  # the labels stay for a probe


def test_equal_texts_are_one_class_and_templates_are_drawn_evenly_by_row() -> None:
    many = rows([f"c{i % 2}" for i in range(400)])
    found = captioned(many, TEMPLATES, KEY)
    assert len(found.examples.class_names) == 4
    counts = np.bincount(found.examples.labels)
    assert (np.abs(counts - 100) < 4 * np.sqrt(100)).all()
    assert texts(captioned(many, TEMPLATES, KEY).examples) == texts(found.examples)
    assert texts(captioned(many, TEMPLATES, key(1, "templates")).examples) != texts(found.examples)


def test_a_caption_is_cut_after_its_last_word_that_anything_reads() -> None:
    found = captioned(rows([None, None], ["a " * 5000, "b"]), TEMPLATES, KEY)
    assert texts(found.examples)[0] == " ".join(["a"] * MOST_WORDS)


def test_texts_that_cannot_be_paired_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"birds has neither captions nor classes.*--objective simclr"):
        captioned(rows([None, None]), TEMPLATES, KEY)
    with pytest.raises(InputError, match="birds has one caption for all rows"):
        captioned(rows(["owl", "owl"]), ("one {}",), KEY)
    with pytest.raises(InputError, match=r"birds has one caption for all rows \('(a ){20}'\)"):
        captioned(rows([None, None], ["a " * 100] * 2), TEMPLATES, KEY)
