"""The saved model: the same to the last bit after loading, and refused in words when it is not what was saved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewtune
from fewtune.errors import InputError
from fewtune.files import new_folder, sealed, written
from fewtune.models.bundle import Bundle, load_bundle
from fewtune.models.predict import label_rows, probabilities
from fewtune.recipes import read_method

METHODS = ["centroid", "centroid(metric='euclidean')", "matching", "matching(neighbours=3)", "ridge(penalty='loo')", "logistic", "svm"]


def data(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    y = np.repeat(["ant", "bée", "c|at <b>"], 6)
    return (random.normal(size=(3, 7))[np.repeat(np.arange(3), 6)] + 0.6 * random.normal(size=(18, 7))).astype(np.float32), y


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "model"
    fewtune.adapt(data(), method="ridge(penalty=2)", settings=fewtune.AdaptSettings(threshold=0.25)).save(path)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_logits_are_the_same_to_the_last_bit(method: str, tmp_path: Path) -> None:
    adapted = fewtune.adapt(data(), method=method)
    adapted.save(tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    new = torch.from_numpy(data(1)[0])
    learner = read_method(loaded.method).learner
    assert loaded.method == adapted.bundle.method and "(" in loaded.method
    before, after = (learner.score(dict(b.state), new[None], dict(b.parameters)) for b in (adapted.bundle, loaded))
    assert torch.equal(before, after)
    assert torch.equal(probabilities(adapted.bundle, new), probabilities(loaded, new))
    np.testing.assert_allclose(probabilities(loaded, new), torch.softmax(before[0].double() / loaded.temperature, -1))


def test_every_field_comes_back(saved: Path) -> None:
    adapted = fewtune.adapt(data(), method="ridge(penalty=2)", settings=fewtune.AdaptSettings(threshold=0.25))
    loaded = load_bundle(saved)
    for name in ("backbone", "method", "class_names", "temperature", "threshold", "card"):
        assert getattr(loaded, name) == getattr(adapted.bundle, name), name
    assert loaded.facts == json.loads(json.dumps(adapted.bundle.facts))
    assert loaded.class_names == ("ant", "bée", "c|at <b>") and loaded.threshold == 0.25
    assert loaded.facts["rows"] == 18 and loaded.facts["shots"] == {"ant": 6, "bée": 6, "c|at <b>": 6}
    assert "c\\|at &lt;b>" in loaded.card


def test_an_existing_folder_is_kept_unless_it_may_be_replaced(saved: Path) -> None:
    bundle = load_bundle(saved)
    with pytest.raises(InputError, match="exists already"):
        bundle.save(saved)
    replace(bundle, threshold=0.5).save(saved, overwrite=True)
    assert load_bundle(saved).threshold == 0.5
    bundle.save(saved, overwrite=True)
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_one_and_nothing_else(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, before = load_bundle(saved), (saved / "fewtune.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        bundle.save(saved, overwrite=True)
    assert (saved / "fewtune.json").read_bytes() == before and [p.name for p in saved.parent.iterdir()] == ["model"]


def changed(saved: Path, to: Path, **fields: Any) -> Path:
    """A copy whose record says something else, as if fewtune had written it."""
    copy = Path(shutil.copytree(saved, to))
    record = json.loads((copy / "fewtune.json").read_bytes()) | fields
    (copy / "fewtune.json").write_bytes(sealed(record))
    return copy


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_manifest_that_points_elsewhere_is_refused(saved: Path, tmp_path: Path) -> None:
    """Such a folder is not taken for fewtune's: nothing outside it is looked at for its sake, nor removed."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    head = sha(saved / "head.safetensors")
    for i, name in enumerate(("../secret.txt", str(secret), "sub/../../secret.txt", "..", ".", "")):
        copy = changed(saved, tmp_path / f"copy{i}", files={"head.safetensors": head, name: sha(secret)})
        assert name in ("", ".") or written(copy) is None
        with pytest.raises(InputError, match="fewtune"), new_folder(copy, overwrite=True) as folder:
            (folder / "README.md").write_text("new")
    assert secret.read_text() == "secret"


def test_a_manifest_that_does_not_name_the_head_is_refused(saved: Path, tmp_path: Path) -> None:
    for i, manifest in enumerate(({}, {"README.md": sha(saved / "README.md")}, {"head.safetensors": "0" * 64}, ["head.safetensors"], None)):
        with pytest.raises(InputError, match=r"fewtune model|sha256"):
            load_bundle(changed(saved, tmp_path / f"copy{i}", files=manifest))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 99}, "newer than this fewtune reads"),
        ({"format": None}, "upgrade fewtune"),
        ({"format": 2}, "make the model again with `fewtune adapt`"),
        ({"kind": "study"}, "not a saved model"),
        ({"backbone": {"name": "x"}}, "not a whole fewtune model"),
        ({"backbone": None}, "not a whole fewtune model"),
        ({"temperature": "warm"}, "not a whole fewtune model"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 1e10}, "temperature"),
        ({"class_names": 3}, "not a whole fewtune model"),
    ],
)
def test_a_record_that_is_wrong_is_refused_in_one_sentence(saved: Path, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load_bundle(changed(saved, tmp_path / "copy", **fields))
    assert "\n" not in str(refused.value)


def test_a_temperature_that_is_no_number_is_refused(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    record = json.loads((copy / "fewtune.json").read_bytes()) | {"temperature": float("nan")}
    (copy / "fewtune.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="make the model again"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["head.safetensors", "support.safetensors", "fewtune.json", "README.md"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_files_that_are_none_are_neither_waited_for_nor_read_for_ever(saved: Path, tmp_path: Path, name: str, kind: str) -> None:
    """A link to a plain file is one, and a card that cannot be read is no card."""
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    (copy / name).unlink()
    if kind == "pipe":
        os.mkfifo(copy / name)
    else:
        (copy / name).symlink_to("/dev/zero" if kind == "device" else saved / name)
    if kind == "link" or name == "README.md":
        assert load_bundle(copy).card == ("" if kind != "link" else load_bundle(saved).card)
        return
    with pytest.raises(InputError, match=r"not a plain file|no saved model") as refused:
        load_bundle(copy)
    assert "\n" not in str(refused.value)


def test_a_model_that_a_killed_process_moved_aside_is_put_back(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / ".model.0123.old")
    assert load_bundle(tmp_path / "model").class_names == load_bundle(saved).class_names
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_missing_and_cut_off_files_are_refused(saved: Path, tmp_path: Path) -> None:
    for name in ("head.safetensors", "fewtune.json"):
        copy = shutil.copytree(saved, tmp_path / f"without {name}")
        (copy / name).unlink()
        with pytest.raises(InputError):
            load_bundle(copy)
        copy = shutil.copytree(saved, tmp_path / f"half {name}")
        (copy / name).write_bytes((copy / name).read_bytes()[:-40])
        with pytest.raises(InputError, match="make the model again"):
            load_bundle(copy)
    with pytest.raises(InputError, match="no saved model"):
        load_bundle(tmp_path / "absent")
    copy = shutil.copytree(saved, tmp_path / "no card")
    (copy / "README.md").unlink()
    assert load_bundle(copy).card == ""


def test_names_that_are_not_utf8_survive(saved: Path, tmp_path: Path) -> None:
    """Linux file names are bytes; Python shows the strange ones as lone surrogates."""
    strange = replace(
        load_bundle(saved), class_names=("kr\udce9is", "日本", "c"), facts={"skipped": {"\udcff.doc": "no image"}}, card="\udcff"
    )
    strange.save(tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    assert loaded.class_names == strange.class_names and loaded.facts == strange.facts
    assert "日本" in (tmp_path / "model" / "fewtune.json").read_text(encoding="utf-8")


def abstaining(saved: Path, threshold: float | None) -> list[str | None]:
    return [p.label for p in label_rows(load_bundle(saved), ["a", "b"], torch.from_numpy(data()[0][:2]), threshold)]


def test_the_threshold_of_the_bundle_holds_unless_another_is_given(saved: Path) -> None:
    bundle: Bundle = replace(load_bundle(saved), threshold=1.0)
    rows = torch.from_numpy(data()[0][:2])
    assert [p.label for p in label_rows(bundle, ["a", "b"], rows)] == [None, None]
    assert [p.label for p in label_rows(bundle, ["a", "b"], rows, 0.0)] == ["ant", "ant"] == abstaining(saved, 0.0)
