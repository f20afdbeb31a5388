"""Examples: subsets, digests, templates, threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.data.examples import make_examples
from fewtune.data.items import Files, Texts, Vectors
from fewtune.data.subset import Subset
from fewtune.data.templates import PHOTO_TEMPLATES, fill, readable
from fewtune.data.threads import in_threads
from fewtune.errors import InputError


def test_subsets_of_subsets_point_at_the_whole() -> None:
    made = replace(make_examples(Texts([f"t{i}" for i in range(10)]), [i % 3 for i in range(10)]), caption=list("abcdefghij"))
    twice = made.take([9, 7, 5, 3]).take([2, 0])
    assert [twice.items.fetch(i) for i in range(2)] == ["t5", "t9"] and twice.labels.tolist() == [2, 0] and twice.caption == ["f", "j"]
    assert isinstance(twice.items, Subset) and isinstance(twice.items.whole, Texts)


def test_digests_follow_content_and_order_alone() -> None:
    texts = ["a", "b", "c"]
    made = make_examples(Texts(texts), [0, 1, 0], name="x")
    assert made.digest() == make_examples(Texts(texts), [1, 1, 0], name="y").digest()
    assert made.digest() != made.take([1, 0, 2]).digest() and made.digest() == made.take([1, 0, 2]).take([1, 0, 2]).digest()
    assert made.digest() != make_examples(Texts(["a", "bc", ""])).digest()
    assert len(made.digest()) == 32 and made.row_digests[0] == made.items.digest(0)


def test_digests_are_computed_once_and_taken_along(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(70)]
    for i, path in enumerate(paths):
        Image.new("L", (2, 2), i).save(path)
    made = make_examples(Files(paths), list(range(70)))
    alone = [made.items.digest(row) for row in range(70)]
    assert made.row_digests == alone  # in threads, in order
    paths[3].write_bytes(b"changed")
    assert made.take([3]).row_digests == [alone[3]]  # what was read stays what it was
    paths[4].unlink()
    fresh = make_examples(Files(paths), list(range(70)))
    assert len(set(fresh.row_digests)) == 70  # a file that is gone has a digest of its own


def test_threads_keep_order_and_pass_errors_on() -> None:
    assert in_threads(lambda row: row * row, 1000, workers=4) == [row * row for row in range(1000)]
    assert in_threads(str, 0) == [] and in_threads(str, 1) == ["0"]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda row: 1 // (500 - row), 1000, workers=4)


def test_whole_columns_and_unknown_targets() -> None:
    from fewtune.data.examples import Column

    column = Column("multi", np.array([[1, 0], [1, 1]]), ("u", "v"))
    made = make_examples(Vectors(np.eye(2, dtype=np.float32)), column)
    assert made.class_names == ("u", "v")
    with pytest.raises(InputError, match="holds multi targets; expected class labels"):
        _ = made.labels
    with pytest.raises(InputError, match="unknown label column 'lable': did you mean label"):
        made.with_target("lable")


def test_templates() -> None:
    assert fill("a photo of a {}.", "red fox") == "a photo of a red fox."
    assert fill("{} {x} {{", "a{}b") == "a{}b {x} {{"
    for bad in ("a photo", "{} and {}", ""):
        with pytest.raises(InputError, match="expected once, as in"):
            fill(bad, "x")
    assert readable("new_york__style  pizza") == "new york style pizza"
    assert len(set(PHOTO_TEMPLATES)) == len(PHOTO_TEMPLATES) > 1 and all(t.count("{}") == 1 for t in PHOTO_TEMPLATES)
