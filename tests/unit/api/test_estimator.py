"""FewShotClassifier keeps scikit-learn's contract, and does the same as the rest of the house on images and texts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fewtune import FewShotClassifier
from fewtune.api import estimator, estimator_rows
from tests.journeys.conftest import SHAPES, draw

Floats = NDArray[np.float64]


SPLITS = "the splits that calibrate hold a weighted row out with all its copies; they cannot know that repeated rows are copies"


@parametrize_with_checks(
    [FewShotClassifier(method="logistic(C=3)"), FewShotClassifier(method="matching"), FewShotClassifier(folds=2)],
    expected_failed_checks=lambda _: {"check_sample_weight_equivalence_on_dense_data": SPLITS},
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def iris() -> tuple[Floats, NDArray[np.int64]]:
    X, y = load_iris(return_X_y=True)
    keep = np.random.default_rng(0).permutation(150)[:60]
    return X[keep], y[keep]


def test_logistic_is_scikit_learns_on_unit_features(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    """The fitted logits before the temperature equal LogisticRegression's on unit vectors, up to a constant of each row."""
    X, y = iris
    ours = FewShotClassifier(method="logistic(C=3)").fit(X, y)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    twin = LogisticRegression(C=3, tol=1e-10, max_iter=5000).fit(unit, y)
    found = softmax(ours.decision_function(X) * ours.temperature_, axis=1)
    np.testing.assert_allclose(found, twin.predict_proba(unit), atol=1e-4)


@pytest.mark.parametrize("method", ["auto", "centroid", "ridge(penalty='loo')", "matching(neighbours=3)"])
def test_the_three_answers_agree(iris: tuple[Floats, NDArray[np.int64]], method: str) -> None:
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    three = FewShotClassifier(method=method).fit(X, names)
    assert list(three.classes_) == ["setosa", "versicolor", "virginica"] and three.temperature_ > 0
    probabilities, logits, answers = three.predict_proba(X), three.decision_function(X), three.predict(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(answers, three.classes_[probabilities.argmax(1)])
    np.testing.assert_array_equal(answers, three.classes_[logits.argmax(1)])
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities)
    two = FewShotClassifier(method=method).fit(X[y < 2], names[y < 2])
    margin, probabilities = two.decision_function(X), two.predict_proba(X)
    assert margin.shape == (60,)
    np.testing.assert_array_equal(two.predict(X), two.classes_[(margin > 0).astype(int)])
    np.testing.assert_array_equal(two.predict(X), two.classes_[probabilities.argmax(1)])
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), probabilities[:, 1])


def test_all_but_equal_logits_are_a_tie_in_all_three_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap that softmax would round away, to the advantage of the second class."""
    model = FewShotClassifier(method="centroid").fit(np.eye(4), [0, 0, 1, 1])
    import torch

    head = type(estimator.read_method(model.method_).learner)
    monkeypatch.setattr(head, "score", lambda *_: torch.tensor([[[1e-17, 2e-17], [0.1, 0.3]]], dtype=torch.float64))
    X = np.zeros((2, 4))
    assert list(model.predict(X)) == [0, 1] == list(model.predict_proba(X).argmax(1))
    margin = model.decision_function(X)
    assert margin[0] == 0 and margin[1] > 0


def test_in_a_pipeline_a_cross_validation_and_a_grid_search(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    piped = make_pipeline(StandardScaler(), FewShotClassifier(method="ridge(penalty=1)"))
    scores = cross_val_score(piped, X, y, cv=3)
    assert scores.mean() > 0.75
    search = GridSearchCV(FewShotClassifier(), {"method": ["centroid", "logistic", "auto"], "folds": [2]}, cv=3).fit(X, y)
    assert search.best_params_["method"] in ("centroid", "logistic", "auto") and search.best_score_ > 0.8
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = FewShotClassifier(method="centroid").fit(frame, pd.Series(y).map({0: "x", 1: "y", 2: "z"}))
    assert list(fitted.feature_names_in_) == list("abcd") and set(fitted.predict(frame)) <= {"x", "y", "z"}
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame.rename(columns={"a": "other"}))


def test_single_and_double_precision_agree(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    double, single = (FewShotClassifier(method="logistic").fit(X.astype(t), y) for t in (np.float64, np.float32))
    np.testing.assert_allclose(double.predict_proba(X), single.predict_proba(X.astype(np.float32)), atol=1e-3)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(double.predict_proba(frozen), double.predict_proba(X))


def test_what_it_cannot_learn_from_is_refused_in_words(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    with pytest.raises(NotFittedError):
        FewShotClassifier().predict(X)
    for changed, message in (
        ({"folds": 1}, "at least 2 folds, found 1"),
        ({"method": "ridgee"}, "did you mean ridge"),
        ({"method": "zero_shot"}, "class names|label side"),
        ({"backbone": "pixel"}, "did you mean pixels"),
        ({"backbone": "pixels"}, "pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            FewShotClassifier(**changed).fit(X, y)
    with pytest.raises(ValueError, match=r"found one class: 'a'\.$"):
        FewShotClassifier().fit(np.eye(3), np.array(["a"] * 3))
    one_each = FewShotClassifier().fit(np.eye(3), ["a", "b", "c"])
    assert one_each.choice_.expected is None and one_each.temperature_ == 1 and list(one_each.predict(np.eye(3))) == ["a", "b", "c"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """24 files, 8 of each shape."""
    root = tmp_path_factory.mktemp("shapes")
    paths, labels = [], []
    for k, shape in enumerate(SHAPES):
        for i in range(8):
            paths.append(str(root / f"{shape}{i}.png"))
            draw(shape, 100 * k + i).save(paths[-1])
            labels.append(shape)
    return paths, labels


def test_paths_pixels_and_their_features_are_the_same_thing(photos: tuple[list[str], list[str]]) -> None:
    """Files through `pixels` equal the very pixels, resized by Pillow, given as features."""
    from PIL import Image

    paths, labels = photos
    by_path = FewShotClassifier(method="ridge(penalty=1)", backbone="pixels,size=12").fit(paths, labels)
    images = [Image.open(p).convert("RGB") for p in paths]
    arrays = np.stack([np.asarray(i) for i in images])
    np.testing.assert_allclose(by_path.predict_proba(arrays), by_path.predict_proba(paths))
    small = np.stack([np.asarray(i.resize((12, 12), Image.Resampling.BILINEAR)) for i in images])
    features = (small.transpose(0, 3, 1, 2).reshape(24, -1) / 255 - 0.5).astype(np.float32)
    given = FewShotClassifier(method="ridge(penalty=1)").fit(features, labels)
    np.testing.assert_allclose(given.predict_proba(features), by_path.predict_proba(paths), atol=1e-5)
    for X in (
        np.array(paths),
        np.array(paths, dtype=object)[:, None],
        pd.Series(paths),
        pd.DataFrame({"path": paths}),
        list(map(Path, paths)),
    ):
        np.testing.assert_array_equal(by_path.predict(X), by_path.predict(paths))
    assert cross_val_score(FewShotClassifier(method="centroid", backbone="pixels,size=12"), paths, labels, cv=2).shape == (2,)


def test_wrong_rows_for_an_image_backbone(photos: tuple[list[str], list[str]], tmp_path: Path) -> None:
    paths, labels = photos
    pixels = FewShotClassifier(method="centroid", backbone="pixels,size=8")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        pixels.fit(paths, labels[:-1])
    with pytest.raises(ValueError, match=r"1 of 24 rows cannot be read, the first is row 23: gone\.png"):
        pixels.fit([*paths[:-1], "gone.png"], labels)
    with pytest.raises(ValueError, match="one path or text a row"):
        pixels.fit(np.array(paths).reshape(12, 2), labels[:12])
    with pytest.raises(ValueError, match="NaN"):
        pixels.fit(paths, np.array([np.nan, *range(23)]))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"1 of 24 rows cannot be read, the first is row 23: .*bad\.png"):
        pixels.fit([*paths[:-1], str(tmp_path / "bad.png")], labels)


def test_the_backbone_is_loaded_once_and_not_pickled(photos: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    paths, labels = photos
    loaded = []
    estimator_rows._loaded.cache_clear()
    original = estimator_rows.load_backbone
    monkeypatch.setattr(estimator_rows, "load_backbone", lambda *a, **k: loaded.append(a) or original(*a, **k))
    model = FewShotClassifier(method="centroid", backbone="pixels,size=9")
    cross_val_score(model, paths, labels, cv=3)
    fitted = clone(model).fit(paths, labels)
    fitted.predict(paths[:2])
    assert len(loaded) == 1
    content = pickle.dumps(fitted)
    assert b"fewtune.backbones" not in content
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(paths), fitted.predict_proba(paths))


def test_rows_are_kept_where_asked(photos: tuple[list[str], list[str]], tmp_path: Path) -> None:
    paths, labels = photos
    FewShotClassifier(method="centroid", backbone="pixels,size=8", cache=tmp_path / "kept").fit(paths, labels)
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 1


@pytest.mark.kit
def test_texts_through_a_real_encoder(kit: Path) -> None:
    texts = [
        "the cat sat",
        "a dog barked",
        "kittens purr",
        "puppies run",
        "cats sleep.png",
        "hounds hunt",
        "feline grace",
        "canine loyalty",
    ]
    labels = ["cat", "dog"] * 4
    model = FewShotClassifier(backbone=f"hf:{kit / 'weights' / 'all-minilm-l6-v2'}").fit(texts, labels)
    assert list(model.predict(["my cat meows", "my dog wags its tail"])) == ["cat", "dog"]
    assert {c.name for c in model.choice_.candidates} >= {"centroid", "logistic"}
    np.testing.assert_allclose(model.predict_proba(np.array(texts)), model.predict_proba(texts), atol=1e-6)
    frame = pd.DataFrame({"text": texts})
    np.testing.assert_array_equal(model.predict(frame["text"]), model.predict(frame))


def test_other_weights_are_noticed(photos: tuple[list[str], list[str]]) -> None:
    paths, labels = photos
    model = FewShotClassifier(method="centroid", backbone="pixels,size=8").fit(paths, labels)
    model.backbone = "pixels,size=9"
    with pytest.raises(ValueError, match="not those this classifier was fitted with"):
        model.predict(paths)


def test_it_finds_out_what_rows_are(tmp_path: Path) -> None:
    """Texts, photos by path and as images, frames and series of them, and numbers."""
    draw("circle", 1).save(tmp_path / "a.png")
    photo, texts = str(tmp_path / "a.png"), ["a cat", "pictures of dogs.png"]
    images: list[Any] = [[photo], np.array([photo]), pd.Series([photo]), pd.DataFrame({"photo": [photo]}), [tmp_path / "a.png"]]
    images += [
        [draw("circle", 1)],
        pd.DataFrame({"photo": [draw("circle", 1), draw("square", 2)]}),
        [b"\xff\xd8"],
        np.zeros((2, 8, 8)),
        [np.zeros((8, 8, 3))],
    ]
    assert [estimator_rows.kind_of(x) for x in images] == ["image"] * len(images)
    for x in (texts, np.array(texts), pd.Series(texts), pd.DataFrame({"text": texts}), [*texts, None], ["x" * 5000]):
        assert estimator_rows.kind_of(x) == "text"
    for x in (np.eye(2), [[1, 2]], pd.DataFrame(np.eye(2)), np.eye(2).astype(object), [], [1, 2], "text", None, [[1, "a"]]):
        assert estimator_rows.kind_of(x) == "vector"


def test_auto_takes_the_encoder_that_adapt_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stand_in(name: str, _: object, __: str) -> Any:
        asked.append(name)
        return estimator_rows.load_backbone("pixels,size=8" if "dinov2" in name else name)

    monkeypatch.setattr(estimator, "named_backbone", stand_in)
    photos = pd.DataFrame({"photo": [draw(SHAPES[k % 3], k) for k in range(12)]})
    fitted = FewShotClassifier(method="ridge").fit(photos, [SHAPES[k % 3] for k in range(12)])
    assert asked == ["hf:facebook/dinov2-small"] and set(fitted.predict(photos)) <= set(SHAPES)
    FewShotClassifier(method="ridge", backbone="base").fit(photos, [SHAPES[k % 3] for k in range(12)])
    assert "hf:facebook/dinov2-base" in asked


@pytest.mark.parametrize("labels", [["cat", "dog"], [0, 1], [True, False], [1.0, 2.0]])
def test_saved_and_loaded_it_is_the_same(labels: list[Any], iris: tuple[Floats, NDArray[np.int64]], tmp_path: Path) -> None:
    import fewtune

    X, y = iris[0][iris[1] < 2], np.array(labels)[iris[1][iris[1] < 2]]
    fitted = FewShotClassifier(method="logistic(C=3)").fit(X, y)
    where = fitted.save(tmp_path / "run", pack=True)
    loaded = FewShotClassifier.load(where)
    np.testing.assert_allclose(loaded.predict_proba(X), fitted.predict_proba(X), atol=1e-5)
    assert loaded.predict(X).dtype.kind == fitted.predict(X).dtype.kind
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    model = fewtune.load(where)
    np.testing.assert_allclose(model.predict_proba(X.astype(np.float32)), fitted.predict_proba(X), atol=1e-5)
    assert model.class_names == tuple(str(label) for label in fitted.classes_.tolist())
    assert model.predict_proba(X[:0].astype(np.float32)).shape == (0, 2)
    with pytest.raises(ValueError, match="exists already"):
        fitted.save(where)
    with pytest.raises(ValueError, match="loaded from a saved model"):
        loaded.save(tmp_path / "again")
    with pytest.raises(ValueError, match="features"):
        loaded.predict(X[:, :2])
    with pytest.raises(NotFittedError):
        FewShotClassifier().save(tmp_path / "none")


@pytest.mark.slow
def test_photos_are_saved_loaded_and_exported(tmp_path: Path) -> None:
    frame = pd.DataFrame({"photo": [draw(SHAPES[k % 3], k) for k in range(12)]})
    fitted = FewShotClassifier(method="ridge", backbone="pixels,size=8").fit(frame, [SHAPES[k % 3] for k in range(12)])
    loaded = FewShotClassifier.load(fitted.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.predict(frame), fitted.predict(frame))
    pytest.importorskip("onnxscript")
    made = fitted.export(tmp_path / "shapes.onnx", inputs=list(frame["photo"]))
    assert made.difference <= 1e-4 and (tmp_path / "shapes_predict.py").exists()


WEIGHTED = (
    "logistic(C=3)",
    "logistic(C='loo')",
    "ridge(penalty=1)",
    "ridge(penalty='loo')",
    "gaussian",
    "centroid",
    "svm",
    "matching",
)


@pytest.mark.parametrize("method", WEIGHTED)
def test_whole_weights_are_repeated_rows(method: str, iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    weights = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = FewShotClassifier(method=method).fit(X, y, sample_weight=weights.astype(float))
    repeated = FewShotClassifier(method=method).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    logits = [c._logits(X) * c.temperature_ for c in (weighted, repeated)]
    assert np.abs(logits[0] - logits[1]).max() <= 1e-8 * np.abs(logits[1]).max()
    plain = FewShotClassifier(method=method).fit(X, y)
    assert np.abs(plain._logits(X) * plain.temperature_ - logits[1]).max() > 1e-3  # weights matter
    assert weighted.shots_ == np.bincount(y[weights > 0]).tolist()


def test_weighted_logistic_is_scikit_learns(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    weights = np.random.default_rng(2).integers(0, 6, len(y))
    ours = FewShotClassifier(method="logistic(C=3, normalize=False)").fit(X, y, sample_weight=weights)
    theirs = LogisticRegression(C=3, tol=1e-10, max_iter=100_000).fit(X, y, sample_weight=weights)
    assert np.abs(ours.state_["weight"][0] - theirs.coef_).max() < 1e-4


def test_splits_count_each_row_once(iris: tuple[Floats, NDArray[np.int64]]) -> None:
    X, y = iris
    weights = np.arange(len(y)) % 3
    weighted = FewShotClassifier().fit(X, y, sample_weight=weights)
    unweighted = FewShotClassifier().fit(X[weights > 0], y[weights > 0])
    assert weighted.method_ == unweighted.method_
    assert weighted.temperature_ == unweighted.temperature_
    assert weighted.choice_.expected == unweighted.choice_.expected


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.full(60, 0.5), "row 0 has the weight 0.5: expected whole numbers"),
        (np.zeros(60), "zero"),
        (np.full(60, 1e6), "expected at most 100,000"),
        (np.full(60, -1.0), "egative"),
        (np.full(60, np.nan), "NaN"),
        (np.ones(59), "60"),
    ],
)
def test_other_weights_are_refused(weights: Floats, said: str, iris: tuple[Floats, NDArray[np.int64]]) -> None:
    with pytest.raises(ValueError, match=said):
        FewShotClassifier(method="centroid").fit(*iris, sample_weight=weights)


def test_photos_take_weights_too() -> None:
    photos = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    made = FewShotClassifier(method="ridge(penalty=1)", backbone="pixels,size=8").fit(photos, [0, 1] * 6, sample_weight=[2, 2, 0] * 4)
    assert made.shots_ == [4, 4]
