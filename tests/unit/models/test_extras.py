"""Unknown rows, sets of classes and the nearest labelled examples: what they promise, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewtune
from fewtune.adaptation.settings import AdaptSettings
from fewtune.api.adapted import Adapted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError
from fewtune.files import read_record, sealed
from fewtune.models.bundle import Bundle, load_bundle
from fewtune.models.extras import Extras, Near, known_features, nearest_examples, rejected, sets_of
from fewtune.models.predict import Prediction, predict_examples
from tests.tiny_text import tiny

CENTRES = 1.6 * np.eye(3, 8)


def rows_of(count: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """`count` rows of each of three classes that overlap, float32 [3 count, 8], and their labels."""
    y = np.repeat(np.arange(3), count)
    return (CENTRES[y] + np.random.default_rng(seed).normal(scale=noise, size=(len(y), 8))).astype(np.float32), y


def adapted(count: int = 12, seed: int = 0, noise: float = 1.0, **options: Any) -> Adapted:
    x, y = rows_of(count, seed, noise)
    return fewtune.adapt((x, [f"class {k}" for k in y]), method="centroid", settings=AdaptSettings(**options))


def predict(bundle: Bundle, x: np.ndarray[Any, Any], **asked: Any) -> list[Prediction]:
    return predict_examples(bundle, read_asked((x, None), Asked(labelled=False)), extras=Extras(**asked))


def test_unknown_rows_are_rejected_and_few_known_ones() -> None:
    """Over 8 sets of labelled examples: at most 5% of new rows like them, and nearly all of rows that point elsewhere."""
    false, true = [], []
    far = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32) - 4 * np.eye(1, 8, 7, dtype=np.float32)
    for seed in range(8):
        bundle = adapted(seed=seed, noise=0.4).bundle
        false.append(rejected(bundle, torch.from_numpy(rows_of(60, 1000 + seed, 0.4)[0])).mean())
        true.append(rejected(bundle, torch.from_numpy(far)).mean())
    assert np.mean(false) <= 0.05 + 2 * np.std(false) / np.sqrt(8) and np.mean(true) > 0.7
    answers = predict(bundle, far, unknown=True)
    plain = predict(bundle, far)
    for one, other in zip(answers, plain, strict=True):
        assert one == replace(other, label=None, unknown=True) if one.unknown else one == other
    assert sum(one.unknown for one in answers) == round(60 * true[-1])


def test_sets_hold_the_right_class_as_often_as_asked() -> None:
    """Over 8 sets of labelled examples, for new rows, at two levels; larger sets at the higher one."""
    sizes = []
    for level in (0.8, 0.95):
        held, size = [], []
        for seed in range(8):
            bundle = adapted(seed=seed).bundle
            x, y = rows_of(60, 2000 + seed)
            sets = [p.likely or () for p in predict(bundle, x, sets=level)]
            held.append(np.mean([f"class {k}" in one for k, one in zip(y, sets, strict=True)]))
            size.append(np.mean([len(one) for one in sets]))
        assert level - 2 * np.std(held) / np.sqrt(8) <= np.mean(held) <= level + 0.08
        sizes.append(np.mean(size))
    assert 1 <= sizes[0] < sizes[1] < 3


def test_sets_by_hand() -> None:
    bundle = adapted().bundle
    held = replace(bundle.support.held, true=np.linspace(0.05, 1, len(bundle.support.held.true)))  # type: ignore[union-attr, type-var]
    bundle = replace(bundle, support=replace(bundle.support, held=held))  # type: ignore[type-var]
    least = held.least(0.9)
    p = torch.tensor([[1 - 2 * least, least, least - 1e-9], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert sets_of(bundle, p, 0.9) == [("class 0", "class 1"), ("class 2",)]
    assert all(sets_of(bundle, torch.full((1, 3), 0.0), 0.5))  # never none


def test_the_nearest_examples_by_hand() -> None:
    made = adapted()
    support = made.bundle.support
    assert support is not None
    x = rows_of(2, 9)[0]
    unit = support.features.numpy() / np.linalg.norm(support.features.numpy(), axis=1, keepdims=True)
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ unit.T
    found = nearest_examples(made.bundle, torch.from_numpy(x), 3)
    for near, row in zip(found, cosine, strict=True):
        order = np.argsort(-row)[:3]
        assert [n.name for n in near] == [f"data:{i}" for i in order] and [n.label for n in near] == [f"class {i // 12}" for i in order]
        np.testing.assert_allclose([n.similarity for n in near], row[order], atol=1e-6)
    assert [p.because for p in predict(made.bundle, x, explain=3)] == found
    assert len(nearest_examples(made.bundle, torch.from_numpy(x), 99)[0]) == 36  # there are no more


def test_names_and_answers_are_kept_with_the_model_and_no_absolute_path(tmp_path: Path) -> None:
    texts = ["cat red", "cat  blue\nmat", "dog red", "dog blue"]
    (tmp_path / "secret").mkdir()
    for i, text in enumerate(texts):
        (tmp_path / "secret" / f"{i}.txt").write_text(text)
    folder = tiny(tmp_path / "weights", 0)
    made = fewtune.adapt((texts, ["cat", "cat", "dog", "dog"]), backbone=f"hf:{folder}", method="centroid")
    bundle = load_bundle(made.save(tmp_path / "run"))
    assert bundle.support is not None and bundle.support.names == ("data:0", "data:1", "data:2", "data:3")
    assert bundle.support.texts == ("cat red", "cat blue mat", "dog red", "dog blue")
    held, saved = made.bundle.support.held, bundle.support.held  # type: ignore[union-attr]
    assert held is not None and saved is not None
    for name in ("item", "true", "best", "right"):
        np.testing.assert_array_equal(getattr(held, name), getattr(saved, name))
    [near] = nearest_examples(bundle, bundle.support.features[:1], 1)[0]
    assert near == Near("data:0", "cat", pytest.approx(1.0), "cat red")


def test_what_a_model_cannot_say_is_refused(tmp_path: Path) -> None:
    x = rows_of(1, 3)[0]
    few = adapted(count=6).bundle
    with pytest.raises(InputError, match="learned from 18 examples: to reject unknown ones, at least 19 are needed"):
        predict(few, x, unknown=True)
    old = replace(few, support=replace(few.support, names=(), held=None))  # type: ignore[type-var]
    with pytest.raises(InputError, match="without the names of its labelled examples"):
        predict(old, x, explain=1)
    with pytest.raises(InputError, match="no answers to held-out examples"):
        predict(old, x, sets=0.9)
    for wrong in ({"sets": 1.0}, {"sets": 0.0}, {"explain": -1}):
        with pytest.raises(InputError, match="expected"):
            predict(few, x, **wrong)
    with pytest.raises(InputError, match="without the examples it was learned from"):
        known_features(replace(few, support=None))
    run = adapted().save(tmp_path / "run")
    record, _ = read_record(run)
    for wrong_names in ({"names": ["a"], "texts": None}, {"names": [1] * 36, "texts": None}, [], {"names": ["a"] * 36}):
        (run / "fewtune.json").write_bytes(sealed(record | {"examples": wrong_names}))
        with pytest.raises(InputError, match="not a whole fewtune model"):
            load_bundle(run)
    (run / "fewtune.json").write_bytes(sealed({k: v for k, v in record.items() if k != "examples"} | {"format": 4}))
    assert load_bundle(run).support.names == ()  # type: ignore[union-attr]


def test_features_that_saw_the_labels_do_not_judge() -> None:
    bundle = adapted().bundle
    support = bundle.support
    assert support is not None
    moved: Any = object()
    finetuned = replace(bundle, moved=moved, facts={**bundle.facts, "labels_moved": True})
    with pytest.raises(InputError, match="finetuned on its labelled examples"):
        known_features(finetuned)
    with pytest.raises(InputError, match="finetuned on its labelled examples"):  # an older model does not say
        known_features(replace(finetuned, facts={}))
    apart = replace(finetuned, support=replace(support, apart=2 * support.features))
    assert torch.equal(known_features(apart), 2 * support.features)
    assert known_features(replace(finetuned, facts={"labels_moved": False})) is support.features


def test_a_threshold_is_chosen_where_answers_are_mostly_wrong(tmp_path: Path) -> None:
    """Labels that say nothing: below the threshold more held-out answers are wrong than right; a given one stays."""
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    y = [f"class {k}" for k in np.arange(60) % 6]
    made = fewtune.adapt((x, y), method="centroid")
    held = made.bundle.support.held  # type: ignore[union-attr]
    assert held is not None
    below = held.best < made.bundle.threshold
    assert made.bundle.threshold > 0.2 and held.right[below].mean() < 0.5
    assert any("No label is given below" in s for s in made.outcome.details)
    assert fewtune.adapt((x, y), method="centroid", settings=AdaptSettings(threshold=0.0)).bundle.threshold == 0
    assert adapted(count=40).bundle.threshold == 0 or adapted(count=40).choice.expected.mean < 0.7  # type: ignore[union-attr]
    assert json.loads((made.save(tmp_path / "run") / "fewtune.json").read_text())["threshold"] == made.bundle.threshold
