"""Which rows of a test split a model is measured on, and what is said of the others."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, make_examples
from fewtune.data.items import Pixels, Vectors
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.sides.job import Workplace
from tests.tiny import images

THE = unicodedata.normalize("NFD", "th\u00e9")


def vectors(train: list[str | None], test: list[str | None], cache: Path, means: dict[str, int] | None = None) -> Outcome:
    """Six rows of every name; classes whose names are alike in lower case and NFC lie together."""
    names = [name for name in train + test for _ in range(6)]
    keys = [unicodedata.normalize("NFC", name or "").casefold() for name in names]
    centres = means or {k: i for i, k in enumerate(sorted(set(keys)))}
    x = np.eye(8)[[centres[k] for k in keys]] * 5 + np.random.default_rng(0).normal(size=(len(names), 8))
    split = np.repeat([TRAIN, TEST], [6 * len(train), 6 * len(test)])
    examples = make_examples(Vectors(x.astype("float32")), names, row_split=split, name="rows")
    backbone = load_backbone("precomputed", machine=Machine(device="cpu"))
    return adapt_examples(examples, backbone, methods={"centroid": read_method("centroid")}, at=Workplace(cache=cache, quiet=True))


def test_rows_of_a_class_that_training_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    found = vectors(["cat", "dog"], ["cat", "dog", "fox"], tmp_path)
    assert found.measured is not None and found.measured.n == 12 and found.class_names == ("cat", "dog")
    assert "6 of 18 test rows are of class fox, which training does not have: left out of this measurement." in found.details
    assert [reason for _, reason in found.target.unmeasured] == ["training has no class fox"] * 6
    assert set(found.bundle.facts["not_measured"].values()) == {"training has no class fox"} and not found.bundle.facts["skipped"]
    assert any("Measured once on the 12 rows" in s for s in found.details)


def test_nothing_is_measured_where_training_has_none_of_the_classes(tmp_path: Path) -> None:
    found = vectors(["cat", "dog"], ["fox", "owl", None], tmp_path)
    assert found.measured is None
    assert "Nothing was measured on the data's own test split: none of its rows can be used." in found.details
    assert any(s.startswith("12 of 18 test rows are of 2 classes (fox, owl), which training does not have") for s in found.details)
    assert "6 of 18 test rows have no label: left out of this measurement." in found.details


@pytest.mark.parametrize("test", [["Cat", "Th\u00e9"], ["cat", THE], ["CAT", THE.upper()]])
def test_names_in_another_case_or_accent_form_are_the_same_class(test: list[str | None], tmp_path: Path) -> None:
    found = vectors(["cat", "th\u00e9"], test, tmp_path)
    plain = vectors(["cat", "th\u00e9"], ["cat", "th\u00e9"], tmp_path)
    assert found.measured == plain.measured and found.measured is not None and found.measured.n == 12
    assert any("were matched though they differ in case, blanks or how accents are stored" in s for s in found.details)
    assert not any("matched" in s for s in plain.details) and not plain.target.about_test


def test_a_name_that_could_be_either_of_two_is_not_guessed(tmp_path: Path) -> None:
    found = vectors(["cat", "Cat", "dog"], ["CAT", "dog"], tmp_path, {"cat": 0, "dog": 1})
    assert found.measured is not None and found.measured.n == 6
    assert any("6 of 12 test rows are of class CAT" in s for s in found.details)


def pictures(labels: list[str], rows: list[int], split: list[int], cache: Path, *, skip_bad: bool = False) -> Outcome:
    """Pictures of eight kinds by number."""
    examples = make_examples(
        Pixels(images(16, seed=1, height=12, width=12)[rows]),
        labels,
        row_split=np.array(split),
        row_names=[f"r{i}" for i in range(len(rows))],
    )
    backbone = load_backbone("pixels,size=6", machine=Machine(device="cpu"))
    return adapt_examples(
        examples,
        backbone,
        methods={"centroid": read_method("centroid")},
        at=Workplace(cache=cache, quiet=True),
        settings=AdaptSettings(skip_bad=skip_bad),
    )


def test_content_that_is_learned_from_is_not_measured_on(tmp_path: Path) -> None:
    """Rows 0 to 5 are learned from; of the test rows one has the content of row 0, under its own class or another, and two are alike."""
    for label in ("a", "b", "fox"):
        labels = ["a", "a", "a", "b", "b", "b", label, "a", "b", "a", "a"]
        found = pictures(labels, [0, 1, 2, 3, 4, 5, 0, 6, 7, 8, 8], [TRAIN] * 6 + [TEST] * 5, tmp_path)
        assert found.target.support.tolist() == [0, 1, 2, 3, 4, 5] and found.target.test.tolist() == [7, 8, 9]
        assert found.target.tested.tolist() == [6, 7, 8, 9, 10] and not found.target.left_out
        assert dict(found.target.unmeasured) == {"r6": "a copy of r0, which is learned from", "r10": "a copy of r9"}
        said = "1 of 5 test rows has the content of a training row (r6 is r0): left out of this measurement, which is on new rows alone."
        assert said in found.details and not any("fox" in s for s in found.details)
        assert any(s.startswith("1 of 5 test rows has the content of another test row (for example r10)") for s in found.details)


def test_test_rows_of_one_content_and_two_labels_do_not_count(tmp_path: Path) -> None:
    labels = ["a", "a", "a", "b", "b", "b", "a", "b", "b"]
    found = pictures(labels, [0, 1, 2, 3, 4, 5, 6, 6, 7], [TRAIN] * 6 + [TEST] * 3, tmp_path)
    assert found.target.test.tolist() == [8] and len(found.target.support) == 6
    assert found.target.unmeasured[0] == ("r6", "the same content as r7, under another class")
    assert found.target.unmeasured[1] == ("r7", "the same content as r6, under another class")


def test_a_clash_among_training_rows_is_refused_whatever_the_test_rows_are(tmp_path: Path) -> None:
    rows, split = [0, 1, 2, 3, 4, 0, 5], [TRAIN] * 6 + [TEST]
    with pytest.raises(InputError, match="2 rows have the same content under different classes"):
        pictures(["a", "a", "a", "b", "b", "b", "a"], rows, split, tmp_path)
    found = pictures(["a", "a", "a", "b", "b", "b", "a"], rows, split, tmp_path, skip_bad=True)
    assert found.target.support.tolist() == [1, 2, 3, 4]


def test_two_classes_are_needed_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two classes with examples to learn from, found 1"):
        vectors(["cat"], ["dog", "cat"], tmp_path)
