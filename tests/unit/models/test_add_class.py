"""One more class without training: the head afterwards is the one that is fitted on all the rows at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import fewtune
from fewtune.api.functions import Model
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError
from fewtune.files import add_to_manifest, written
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.machine import Machine
from fewtune.models.add_class import add_class, put_back
from fewtune.models.bundle import load_bundle
from fewtune.models.predict import probabilities
from fewtune.recipes import read_method
from tests.tiny import images, save_clip

HEADS = ["centroid", "centroid(metric='euclidean')", "matching", "ridge", "ridge(penalty=2)", "logistic", "svm"]


def rows(classes: int, seed: int = 0, each: int = 5) -> tuple[np.ndarray[Any, Any], list[str]]:
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    x = np.random.default_rng(9).normal(size=(9, 6))[y] + 0.5 * random.normal(size=(len(y), 6))
    return x.astype(np.float32), [f"class {k}" for k in y]


def model(method: str = "ridge", classes: int = 3) -> Model:
    return Model(fewtune.adapt(rows(classes), method=method).bundle, machine=Machine(device="cpu"))


@pytest.mark.parametrize("method", HEADS)
def test_it_is_the_model_that_would_have_been_fitted_on_all_rows(method: str) -> None:
    x, y = rows(4)
    whole = fewtune.adapt((x, y), method=method).bundle
    small = model(method)
    larger = small.add_class("class 3", x[15:])
    assert larger.class_names == whole.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert larger.bundle.state.keys() == whole.state.keys()
    for name, tensor in whole.state.items():
        torch.testing.assert_close(larger.bundle.state[name], tensor, rtol=1e-6, atol=1e-6)
    assert larger.bundle.temperature == small.bundle.temperature and small.class_names == whole.class_names[:3]
    new = torch.from_numpy(rows(4, seed=1)[0])
    torch.testing.assert_close(
        probabilities(larger.bundle, new), probabilities(replace(whole, temperature=small.bundle.temperature), new), rtol=1e-5, atol=1e-6
    )


def test_the_head_is_that_of_scikit_learn() -> None:
    x, y = rows(4)
    larger = model("ridge(penalty=2)").add_class("class 3", x[15:]).bundle
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    twin = Ridge(alpha=2, fit_intercept=False).fit(unit.astype(np.float64), np.eye(4)[[int(label[-1]) for label in y]])
    np.testing.assert_allclose(larger.state["weight"][0], twin.coef_, atol=1e-6)


def test_what_training_moved_in_the_head_stays() -> None:
    """A learned penalty and scale are the ones that the larger head is fitted with."""
    small = model("ridge(penalty=2)")
    learned = {"head.scale": torch.tensor(3.0), "head.log_penalty": torch.tensor(1.5)}
    bundle = replace(small.bundle, parameters=learned)
    larger = Model(bundle).add_class("class 3", rows(4)[0][15:]).bundle
    unit = rows(4)[0] / np.linalg.norm(rows(4)[0], axis=1, keepdims=True)
    twin = Ridge(alpha=2 * np.exp(1.5), fit_intercept=False).fit(unit.astype(np.float64), np.eye(4)[np.repeat(np.arange(4), 5)])
    np.testing.assert_allclose(larger.state["weight"][0], 3 * twin.coef_, atol=1e-6)
    assert larger.parameters == learned


def test_more_examples_of_a_class_it_has() -> None:
    x, _ = rows(3)
    more, _ = rows(3, seed=1)
    grown = model().add_class("class 1", more[5:10], more=True)
    expected = fewtune.adapt((np.concatenate([x, more[5:10]]), [*rows(3)[1], *["class 1"] * 5]), method="ridge").bundle
    torch.testing.assert_close(grown.bundle.state["weight"], expected.state["weight"], rtol=1e-6, atol=1e-6)
    assert grown.class_names == expected.class_names and grown.bundle.facts["shots"]["class 1"] == 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize("method", ["zero_shot", "text_prior", "shrink", "Method(learner=TextPrior(form='cache'))"])
def test_heads_that_read_names_get_the_new_one(method: str, clip: str, tmp_path: Path) -> None:
    pixels = images(10)
    adapted = fewtune.adapt(
        (pixels[:8], ["cat", "dog"] * 4), backbone=fewtune.load_backbone(clip, machine=Machine(device="cpu")), method=method, cache=tmp_path
    )
    larger = Model(adapted.bundle, machine=Machine(device="cpu")).add_class("bird", pixels[8:])
    prompts = prompts_of(read_method(adapted.bundle.method).head)
    backbone = load_backbone(clip, machine=Machine(device="cpu"))
    vectors = class_vectors(backbone, backbone.start(), ["cat", "dog", "bird"], prompts)
    if method == "zero_shot":
        torch.testing.assert_close(larger.bundle.state["weight"][0], vectors, rtol=1e-5, atol=1e-6)
    whole = fewtune.adapt((pixels, [*["cat", "dog"] * 4, *["bird"] * 2]), backbone=clip, method=method, cache=tmp_path)
    order = [larger.class_names.index(name) for name in whole.class_names]
    torch.testing.assert_close(larger.bundle.state["weight"][0][order], whole.bundle.state["weight"][0], rtol=1e-4, atol=1e-5)
    assert larger.predict(pixels[:1])[0].scores.keys() == {"cat", "dog", "bird"}


def test_accuracy_is_cross_validated_on_the_examples_that_are_kept() -> None:
    """The same as `adapt` finds with all the rows at once, by the same folds."""
    x, y = rows(4)
    whole = fewtune.adapt((x, y), method="ridge")
    larger = model().add_class("class 3", x[15:]).bundle
    assert larger.facts["expected_accuracy"] == whole.bundle.facts["expected_accuracy"]
    assert larger.facts["recall"] == whole.bundle.facts["recall"]
    held, same = larger.support.held, whole.bundle.support.held  # type: ignore[union-attr]
    assert held is not None and same is not None
    np.testing.assert_array_equal(held.item, same.item)
    np.testing.assert_array_equal(held.right, same.right)
    assert larger.support.names[-1] == "data:4" and len(larger.support.names) == 20  # type: ignore[union-attr]
    assert "by cross-validation on the 20 examples" in larger.card


def test_it_says_what_is_no_longer_known() -> None:
    """Where the backbone has seen labels of the old examples, cross-validation would flatter it."""
    fresh = model().bundle

    class Kept:
        weights: dict[str, torch.Tensor] = {}  # noqa: RUF012
        edits, digest = "()", ""

        def onto(self, backbone: Any) -> Any:
            return backbone

    moved: Any = Kept()
    small = Model(replace(fresh, moved=moved, facts={**fresh.facts, "labels_moved": True}), machine=Machine(device="cpu"))
    larger = small.add_class("a|<b>", rows(4)[0][15:])
    assert small.bundle.facts["expected_accuracy"] is not None and larger.bundle.facts["expected_accuracy"] is None
    assert larger.bundle.facts["expected_before"] == small.bundle.facts["expected_accuracy"]
    assert set(larger.bundle.facts["recall"].values()) == {None} and larger.bundle.facts["rows"] == 20
    assert larger.bundle.facts["added"] == [{"class": "a|<b>", "rows": 5, "new": True}]
    assert "not known" in larger.bundle.card and "a\\|&lt;b>" in larger.bundle.card
    twice = larger.add_class("class 8", rows(9)[0][40:])
    assert len(twice.bundle.facts["added"]) == 2 and twice.bundle.facts["expected_before"] == small.bundle.facts["expected_accuracy"]


def test_it_is_saved_and_loaded_as_any_other(tmp_path: Path) -> None:
    larger = model().add_class("class 3", rows(4)[0][15:])
    larger.save(tmp_path / "run")
    again = fewtune.load(tmp_path / "run")
    assert again.predict(rows(4, seed=1)[0]) == larger.predict(rows(4, seed=1)[0])
    assert again.bundle.support is not None and again.bundle.support.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    with pytest.raises(InputError, match="exists already"):
        larger.save(tmp_path / "run")


def test_names_that_cannot_be_are_refused() -> None:
    new = rows(4)[0][15:]
    for name in ("class 1", " class 1 "):
        with pytest.raises(InputError, match=r"has a class 'class 1' already: .*--more"):
            model().add_class(name, new)
    with pytest.raises(InputError, match=r"no class 'class 3' to add more examples to: .* class 2; leave out --more"):
        model().add_class("class 3", new, more=True)
    for name in ("", "  ", "a\nb"):
        with pytest.raises(InputError, match="expected the name of a class"):
            model().add_class(name, new)
    with pytest.raises(InputError, match="labels vectors, but data holds images"):
        model().add_class("class 3", images(2))
    with pytest.raises(InputError, match="width 6, but data has width 2"):
        model().add_class("class 3", np.ones((2, 2)))
    old = replace(model().bundle, support=None)
    with pytest.raises(InputError, match=r"without the rows .* make it again"):
        Model(old).add_class("class 3", new)


def test_copies_are_left_out_and_examples_of_other_classes_refused(tmp_path: Path) -> None:
    pixels = images(9)
    bundle = fewtune.adapt((pixels[:6], ["a", "b"] * 3), backbone="pixels,size=8", method="ridge", cache=tmp_path).bundle
    backbone = load_backbone("pixels,size=8")

    def added(content: np.ndarray[Any, Any], name: str, **options: Any) -> Any:
        return add_class(bundle, name, read_asked((content, None), Asked(labelled=False)), backbone=backbone, **options)

    twice = added(pixels[[6, 7, 6]], "c")
    assert twice.bundle.support.labels.tolist() == [0, 1] * 3 + [2, 2] and any("1 row was left out" in s for s in twice.sentences)
    with pytest.raises(InputError, match=r"already an example of 'b': .*--skip-bad"):
        added(pixels[[6, 1]], "c")
    assert added(pixels[[6, 1]], "c", skip_bad=True).bundle.facts["shots"] == {"a": 3, "b": 3, "c": 1}
    assert added(pixels[[6, 0]], "a", more=True).bundle.facts["shots"] == {"a": 4, "b": 3}
    for content, options in ((pixels[[0, 2]], {"more": True}), (pixels[[0, 1]], {"more": True, "skip_bad": True})):
        with pytest.raises(InputError, match="no new example is left of 2 rows"):
            added(content, "a", **options)


def test_a_model_is_written_over_itself_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    model().save(run)
    (run / "notes").mkdir()
    (run / "notes" / "mine.txt").write_text("keep")
    (run / "model.onnx").write_bytes(b"the model before")
    add_to_manifest(run, [run / "model.onnx"])  # as `export` does
    larger = model().add_class("class 3", rows(4)[0][15:]).bundle
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    with monkeypatch.context() as full:

        def stop(*_: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("os.replace", stop)
        with pytest.raises(OSError, match="No space"):
            put_back(larger, run)
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before and [p.name for p in tmp_path.iterdir()] == ["run"]
    said = put_back(larger, run)
    assert load_bundle(run).class_names == larger.class_names and (run / "notes" / "mine.txt").read_text() == "keep"
    assert not (run / "model.onnx").exists() and "export it again" in said[0]
    assert set(written(run) or ()) == {"README.md", "head.safetensors", "support.safetensors"}
    (run / "model.onnx").write_bytes(b"mine")
    (run / "README.md").write_text("my words")
    with pytest.raises(InputError, match=r"README\.md was edited or not written by fewtune"):
        put_back(larger, run)
    (run / "README.md").unlink()
    assert put_back(larger, run) == () and (run / "model.onnx").read_bytes() == b"mine"
    assert json.loads((run / "fewtune.json").read_text())["facts"]["rows"] == 20 and [p.name for p in tmp_path.iterdir()] == ["run"]


def test_an_update_by_another_program_is_not_lost(tmp_path: Path) -> None:
    model().save(tmp_path / "run")
    read = [Model(load_bundle(tmp_path / "run"), machine=Machine(device="cpu")) for _ in range(2)]
    made = [one.add_class(name, rows(4)[0][15:]).bundle for one, name in zip(read, ("one", "two"), strict=True)]
    put_back(made[0], tmp_path / "run")
    with pytest.raises(InputError, match="another program changed"):
        put_back(made[1], tmp_path / "run")
    assert load_bundle(tmp_path / "run").class_names[-1] == "one"


@pytest.mark.parametrize("name", ["", "a\x7fb", "a\u202eb", 3])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match="expected the name of a class"):
        model().add_class(name, rows(4)[0][15:])


def test_a_class_that_reads_like_another_is_said() -> None:
    made = model().add_class("CLASS 0", rows(4)[0][15:])
    assert made.bundle.class_names[-1] == "CLASS 0" and "differ only in case" in made.bundle.card
