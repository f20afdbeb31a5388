"""Evaluation of a saved model, against hand calculation, and what is left out of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

import fewtune
from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.models.bundle import BackboneRecord, Bundle
from fewtune.models.evaluate import evaluate, read_labelled
from fewtune.models.support import Support
from fewtune.report.evaluation import render_evaluation
from fewtune.statistics import expected_calibration_error, wilson_interval
from tests.tiny import images

NAMES = ("x", "y", "z")


def by_hand(**changes: Any) -> Bundle:
    """Three centroids along the axes."""
    backbone = load_backbone("precomputed")
    record = BackboneRecord(
        name="precomputed", weights=None, digest=backbone.digest(), preparation=backbone.preparation.text, width=3, modality="vector"
    )
    bundle = Bundle(
        backbone=record,
        method="centroid(temperature=10)",
        class_names=NAMES,
        state={"weight": torch.eye(3)[None]},
        parameters={"head.temperature": torch.tensor(10.0)},
        temperature=1.0,
        threshold=0.0,
        facts={},
        card="",
    )
    return replace(bundle, **changes)


def rows(count: int = 60, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    return (np.eye(3)[y] + 0.6 * random.normal(size=(count, 3))).astype(np.float32), np.array(NAMES)[y]


def test_every_figure_against_scikit_learn() -> None:
    x, y = rows()
    found = evaluate(by_hand(), read_labelled((x, y)), threshold=0.8)
    cosine = x / np.linalg.norm(x, axis=1, keepdims=True)
    p = np.exp(10 * cosine) / np.exp(10 * cosine).sum(1, keepdims=True)
    answer, true = p.argmax(1), np.array([NAMES.index(label) for label in y])
    assert found.count == 60 and found.accuracy == wilson_interval(int((answer == true).sum()), 60)
    assert (found.confusion == confusion_matrix(true, answer)).all()
    np.testing.assert_allclose(found.recall, recall_score(true, answer, average=None))
    assert found.counts.tolist() == np.bincount(true).tolist()
    assert math.isclose(found.calibration_error, expected_calibration_error(p, true), abs_tol=1e-6)
    sure = p.max(1) >= 0.8
    assert 0 < found.abstained == int((~sure).sum()) < 60
    assert found.answered == wilson_interval(int(((answer == true) & sure).sum()), int(sure.sum()))
    assert any("abstains from" in s and "0.8" in s for s in found.sentences) and found.left_out == ()


def test_each_domain_counts_by_itself() -> None:
    """Rows of the second domain are noise: beside scikit-learn's accuracy of each."""
    (x, y), domain = rows(), np.arange(60) % 2
    x[domain == 1] = np.random.default_rng(1).normal(size=(30, 3))
    data = {"x": x, "y": y, "groups": np.array(["site a", "site b"])[domain]}
    made = evaluate(by_hand(), read_labelled(data))
    answered = np.array(NAMES)[x.argmax(1)]
    assert made.groups is not None
    for g, name in enumerate(("site a", "site b")):
        assert made.groups.each[name].mean == pytest.approx(accuracy_score(y[domain == g], answered[domain == g]))
    assert made.groups.worst == "site b" and made.groups.mean.mean == pytest.approx(made.accuracy.mean)  # equally many rows
    assert any("mean of its 2 groups" in s and "the lowest is site b" in s for s in made.sentences)
    shown, record = render_evaluation(made, "table"), json.loads(render_evaluation(made, "json"))
    assert "Accuracy by group" in shown and "site a" in shown
    assert record["groups"]["worst"] == "site b" and [one["rows"] for one in record["groups"]["each"]] == [30, 30]
    plain = evaluate(by_hand(), read_labelled((x, y)))
    assert plain.groups is None and "group" not in render_evaluation(plain, "table")
    assert json.loads(render_evaluation(plain, "json"))["groups"] is None


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    x, y = rows()
    whole = evaluate(by_hand(), read_labelled((x, y)))
    order = np.argsort(y)[::-1]
    mixed = evaluate(by_hand(), read_labelled({"x": x[order], "y": 2 - np.searchsorted(NAMES, y[order]), "names": NAMES[::-1]}))
    assert mixed.accuracy == whole.accuracy and (mixed.confusion == whole.confusion).all()
    accented = by_hand(class_names=("cafe\u0301", "y", "z"))  # as some systems write file names
    assert evaluate(accented, read_labelled((x, np.where(y == "x", "caf\u00e9", y)))).accuracy == whole.accuracy
    loud = evaluate(by_hand(), read_labelled((x, np.char.upper(y))))
    assert (loud.confusion == whole.confusion).all() and any("'X' for 'x', 'Y' for 'y'" in s for s in loud.sentences)
    assert not any("matched" in s for s in whole.sentences)


def test_a_name_that_fits_two_classes_is_not_guessed() -> None:
    """The model tells "X" from "x": their rows are each under their own name, and an "\u00e9" in two forms is two classes too."""
    x, y = rows()
    model = by_hand(class_names=("caf\u00e9", "cafe\u0301", "z"))
    found = evaluate(model, read_labelled((x, np.array(model.class_names)[np.searchsorted(NAMES, y)])))
    assert (found.confusion == evaluate(by_hand(), read_labelled((x, y))).confusion).all()
    with pytest.raises(InputError, match="a class that this model does not have: CAF"):
        evaluate(model, read_labelled((x, np.where(y == "x", "CAF\u00c9", "z"))))


def test_a_class_that_is_not_known_is_refused_or_left_out() -> None:
    x, y = rows()
    strange = y.tolist()
    strange[:4] = ["cow", "dog", "dog", "eel"]
    with pytest.raises(
        InputError, match=r"3 classes that this model does not have: cow, dog, eel; its classes are x, y, z\. .*--skip-unknown"
    ):
        evaluate(by_hand(), read_labelled((x, strange)))
    found = evaluate(by_hand(), read_labelled((x, strange)), skip_unknown=True)
    assert found.count == 56 and len(found.left_out) == 4
    assert found.accuracy == evaluate(by_hand(), read_labelled((x[4:], y[4:]))).accuracy
    assert any("4 rows were left out" in s and "cow, dog, eel" in s for s in found.sentences)
    with pytest.raises(InputError, match="leaves no row to evaluate on: 2 rows are left out, for example"):
        evaluate(by_hand(), read_labelled((x[:2], ["dog", "cat"])), skip_unknown=True)


def test_rows_that_were_learned_from_do_not_count() -> None:
    x, y = rows(24)
    adapted = fewtune.adapt((x, y), method="ridge")
    new, new_y = rows(30, seed=1)
    both = read_labelled((np.concatenate([new, x]), np.concatenate([new_y, y])))
    found = evaluate(adapted.bundle, both)
    assert found.accuracy == evaluate(adapted.bundle, read_labelled((new, new_y))).accuracy and found.count == 30
    assert len(found.left_out) == 24 and all("learned from" in why for _, why in found.left_out)
    assert any("24 rows were left out" in s and "--include-learned" in s for s in found.sentences)
    assert evaluate(adapted.bundle, both, include_learned=True).count == 54
    with pytest.raises(InputError, match="leaves no row to evaluate on"):
        evaluate(adapted.bundle, read_labelled((x, y)))
    assert any("was expected" in s for s in found.sentences)


def test_images_are_known_by_their_content(tmp_path: Path) -> None:
    pixels, y = images(12), ["a", "b", "c"] * 4
    model = fewtune.adapt((pixels, y), backbone="pixels,size=8", method="centroid", cache=tmp_path)
    model.save(tmp_path / "run")
    found = fewtune.load(tmp_path / "run").evaluate((np.concatenate([pixels[:6], images(5, seed=1)]), (y[:6] + ["a"] * 5)))
    assert found.count == 5 and math.isnan(found.recall[1]) and found.counts.tolist() == [5, 0, 0]
    assert any("no examples of them: b, c" in s for s in found.sentences)


def test_rows_without_labels_and_wrong_data_are_named() -> None:
    x, y = rows(10)
    named = {"x": x, "y": np.where(np.arange(10) < 3, "", y)}
    found = evaluate(by_hand(), read_labelled(named))
    assert found.count == 7 and [why for _, why in found.left_out] == ["it has no label"] * 3
    with pytest.raises(InputError, match=r"holds no labels: .*--label"):
        read_labelled((x, None))
    with pytest.raises(InputError, match="labels vectors, but data holds texts"):
        evaluate(by_hand(), read_labelled((["a", "b"], ["x", "y"])))
    with pytest.raises(InputError, match="width 3, but data has width 2"):
        evaluate(by_hand(), read_labelled((x[:, :2], y)))
    for threshold in (-0.5, 2, math.nan):
        with pytest.raises(InputError, match="threshold between 0 and 1"):
            evaluate(by_hand(), read_labelled((x, y)), threshold=threshold)


def test_one_class_alone_can_be_measured() -> None:
    found = evaluate(by_hand(), read_labelled((np.eye(3, dtype=np.float32)[[0, 0, 1]], ["x", "x", "x"])))
    assert found.recall[0] == 2 / 3 and np.isnan(found.recall[1:]).all()


def test_what_is_written_says_the_same_to_people_and_programs() -> None:
    x, y = rows()
    found = evaluate(by_hand(), read_labelled((x, y)), threshold=0.8)
    record = json.loads(render_evaluation(found, "json"))
    assert record["rows"] == 60 and record["accuracy"]["mean"] == found.accuracy.mean and record["abstained"] == found.abstained
    assert record["confusion"] == found.confusion.tolist() and [c["class"] for c in record["classes"]] == list(NAMES)
    text = render_evaluation(found, "table")
    assert "Recall by class" in text and "Confusion matrix" in text and found.sentences[0] in text
    blank = evaluate(by_hand(), read_labelled((x[y == "x"], y[y == "x"])))
    assert json.loads(render_evaluation(blank, "json"))["classes"][2]["recall"] is None


def test_of_many_classes_the_worst_are_shown() -> None:
    names = tuple(f"class {k}" for k in range(40))
    bundle = by_hand(class_names=names, state={"weight": torch.eye(40)[None]})
    bundle = replace(bundle, backbone=replace(bundle.backbone, width=40))
    x = np.eye(40, dtype=np.float32)[np.r_[0:40, 1]]
    text = render_evaluation(evaluate(bundle, read_labelled((x, [*names, "class 0"]))), "table")
    assert "Most frequent confusions" in text and "30 classes with the lowest recall" in text and "Confusion matrix" not in text
    perfect = render_evaluation(evaluate(bundle, read_labelled((x[:40], names))), "table")
    assert "confusions" not in perfect


def test_a_model_without_its_support_counts_every_row() -> None:
    x, y = rows(9)
    digests = tuple(read_labelled((x, y)).row_digests)
    support = Support(features=torch.from_numpy(x), labels=np.zeros(9, dtype=np.int64), digests=digests)
    assert evaluate(by_hand(), read_labelled((x, y))).count == 9
    with pytest.raises(InputError, match="leaves no row"):
        evaluate(by_hand(support=support), read_labelled((x, y)))
