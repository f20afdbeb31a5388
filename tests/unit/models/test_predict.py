"""Predicting with a saved model: against hand calculation, and refusing any backbone but its own."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import fewtune
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Texts
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.inputs import Given, read_inputs
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError
from fewtune.models.bundle import BackboneRecord, Bundle
from fewtune.models.its_backbone import load_its_backbone
from fewtune.models.predict import Prediction, label_rows, predict_examples, probabilities, wanted_by
from fewtune.report.predictions import render_predictions
from tests.journeys.conftest import SHAPES, draw
from tests.tiny_text import tiny


def by_hand(temperature: float = 2.0, threshold: float = 0.0) -> Bundle:
    """Two centroids, along x and along y, at temperature 10 within the head and another without."""
    backbone = load_backbone("precomputed")
    record = BackboneRecord(
        name="precomputed", weights=None, digest=backbone.digest(), preparation=backbone.preparation.text, width=2, modality="vector"
    )
    return Bundle(
        backbone=record,
        method="centroid(temperature=10)",
        class_names=("x", "y"),
        state={"weight": torch.eye(2)[None]},
        parameters={"head.temperature": torch.tensor(10.0)},
        temperature=temperature,
        threshold=threshold,
        facts={},
        card="",
    )


def test_probabilities_by_hand() -> None:
    """logits = 10 cosine / 2, so p(x) = 1 / (1 + exp(-5 (cos - sin)))."""
    angles = np.array([0.0, math.pi / 4, 1.2])
    rows = torch.tensor(np.stack([3 * np.cos(angles), 3 * np.sin(angles)], 1), dtype=torch.float32)
    expected = 1 / (1 + np.exp(-5 * (np.cos(angles) - np.sin(angles))))
    found = probabilities(by_hand(), rows)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_labels_abstain_below_the_threshold_and_unreadable_rows_have_none() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.9], [math.nan, math.nan]])
    sure, unsure, unreadable = label_rows(by_hand(), ["a", "b", "c"], rows, 0.9)
    assert sure.label == "x" and sure.probability == sure.scores["x"] > 0.99
    assert unsure.label is None and 0.5 < unsure.probability < 0.9 and set(unsure.scores) == {"x", "y"}
    assert unreadable == Prediction("c", None, 0.0, {})
    assert label_rows(by_hand(), ["c"], rows[2:], problems={0: "why"}) == [Prediction("c", None, 0.0, {}, "why")]
    exact = label_rows(by_hand(), ["a"], torch.tensor([[1.0, 1.0]]), 0.5)[0]
    assert exact.label == "x" and exact.probability == 0.5  # not below the threshold, and of equals the first
    for threshold in (-0.1, 1.5, math.nan):
        with pytest.raises(InputError, match="threshold between 0 and 1"):
            label_rows(by_hand(), ["a"], rows[:1], threshold)


def test_another_modality_width_or_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="width 2, but data has width 3"):
        predict_examples(by_hand(), read_asked((np.ones((2, 3)), None), Asked(labelled=False)))
    with pytest.raises(InputError, match="labels vectors, but data holds texts"):
        predict_examples(by_hand(), read_asked((["a", "b"], None), Asked(labelled=False)))
    with pytest.raises(InputError, match="expected something to label"):
        read_inputs([], [], wanted_by(by_hand()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where backbones lie is kept in a folder of the test."""
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_other_weights_are_refused_and_moved_ones_are_asked_for(tmp_path: Path) -> None:
    first, second = tiny(tmp_path / "first", 0), tiny(tmp_path / "second", 1)
    texts, labels = ["cat red", "cat blue", "dog red", "dog blue"], ["cat", "cat", "dog", "dog"]
    adapted = fewtune.adapt(
        (texts, labels), backbone=fewtune.load_backbone(f"hf:{first}", weights=first), method="centroid", cache=tmp_path / "cache"
    )
    adapted.save(tmp_path / "run")
    answers = fewtune.load(tmp_path / "run").predict(["cat", "dog"])
    assert [a.label for a in answers] == ["cat", "dog"]
    with pytest.raises(InputError, match=r"differ from those this model was made with .* --weights"):
        fewtune.load(tmp_path / "run", weights=second).predict(["cat"])
    with pytest.raises(InputError, match=r"not at .*gone: say where they are now with --weights"):
        load_its_backbone(adapted.bundle, weights=tmp_path / "gone")
    moved = Path((first / "model.safetensors").rename(tmp_path / "moved.safetensors"))
    assert fewtune.load(tmp_path / "run", weights=moved).predict(["cat", "dog"]) == answers


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("how", ["folder", "folder and file", "link"])
def test_no_path_is_passed_on_and_the_model_is_found_all_the_same(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "alice.liddell"
    first = tiny(home / "bert", 0)
    weights = None
    if how == "folder and file":
        weights = Path((first / "model.safetensors").rename(home / "w.safetensors"))
    if how == "link":
        (home / "short").symlink_to("bert")
    name = {"link": "short"}.get(how, "bert")
    texts, labels = ["cat red", "cat blue", "dog red", "dog blue"], ["cat", "cat", "dog", "dog"]
    monkeypatch.chdir(home)
    adapted = fewtune.adapt(
        (texts, labels), backbone=fewtune.load_backbone(f"hf:./{name},max_length=8", weights=weights), method="centroid"
    )
    adapted.save(tmp_path / "run")
    assert adapted.backbone.name == f"hf:{name},max_length=8"
    for file in (tmp_path / "run").iterdir():
        assert b"alice" not in file.read_bytes() and os.fsencode(tmp_path) not in file.read_bytes(), file
    monkeypatch.chdir("/")
    answers = fewtune.load(tmp_path / "run").predict(["cat", "dog"])
    assert [a.label for a in answers] == ["cat", "dog"]
    away = home.rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"not at .*alice.*: say where they are now with --weights"):
        fewtune.load(tmp_path / "run").predict(["cat"])
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "another person's"))
    unknown = rf"hf:{name},max_length=8.* local (folder|file) that is not known .* --weights (FOLDER|FILE) \(in Python weights=\.\.\.\)\.$"
    with pytest.raises(InputError, match=unknown):
        fewtune.load(tmp_path / "run").predict(["cat"])
    if weights is not None:
        (away / "w.safetensors").rename(away / "bert" / "w.safetensors")
    assert fewtune.load(tmp_path / "run", weights=away / "bert").predict(["cat", "dog"]) == answers
    file = away / "bert" / ("model.safetensors" if weights is None else "w.safetensors")
    assert fewtune.load(tmp_path / "run", weights=file).predict(["cat", "dog"]) == answers


@pytest.mark.usefixtures("cache")
def test_weights_beside_a_name_are_found_by_their_place(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 4)
    rows = (random.normal(size=(8, 4)) + 3 * labels[:, None]).astype(np.float32)
    network = load_backbone("mlp,inputs=4,seed=3").network
    save_file(dict(network.state_dict()), tmp_path / "w.safetensors")
    adapted = fewtune.adapt(
        (rows, labels), backbone=fewtune.load_backbone("mlp,inputs=4", weights=tmp_path / "w.safetensors"), method="centroid"
    )
    adapted.save(tmp_path / "run")
    record = adapted.bundle.backbone
    assert (record.weights, record.folder) == ("w.safetensors", False)
    answers = fewtune.load(tmp_path / "run").predict(rows)
    forgotten = replace(adapted.bundle, backbone=replace(record, digest="../" + record.digest))  # made up by somebody
    with pytest.raises(InputError, match=r"mlp,inputs=4 with w\.safetensors, was read from a local file that is not known"):
        load_its_backbone(forgotten)
    moved = Path((tmp_path / "w.safetensors").rename(tmp_path / "moved.safetensors"))
    with pytest.raises(InputError, match=r"not at .*w\.safetensors: say where they are now"):
        fewtune.load(tmp_path / "run").predict(rows)
    assert fewtune.load(tmp_path / "run", weights=moved).predict(rows) == answers


def rendered(predictions: list[Prediction], form: Any) -> str:
    rows = Given(make_examples(Texts([p.input for p in predictions]), row_names=[p.input for p in predictions]))
    return render_predictions(predictions, ("a", "b"), form, rows)


def test_json_and_csv_hold_the_same() -> None:
    given = [
        Prediction('quo"te,.jpg', "a", 0.75, {"a": 0.75, "b": 0.25}),
        Prediction("日本.jpg", None, 0.5, {"a": 0.5, "b": 0.5}),
        Prediction("bad", None, 0.0, {}),
    ]
    listed = json.loads(rendered(given, "json"))
    assert [tuple(x.values()) for x in listed] == [(p.input, p.label, p.probability, p.scores) for p in given]
    rows = list(csv.reader(io.StringIO(rendered(given, "csv"))))
    assert rows == [
        ["input", "label", "probability", "a", "b"],
        ['quo"te,.jpg', "a", "0.75", "0.75", "0.25"],
        ["日本.jpg", "", "0.5", "0.5", "0.5"],
        ["bad", "", "", "", ""],
    ]
    table = rendered(given, "table")
    assert "(abstains)" in table and "(cannot be read)" in table and "b 25%" in table


# Latin-1, as old cameras and archives leave it; Python holds the bytes that are not UTF-8 as lone surrogates
STRANGE, FOLDERS = "\udce9t\udce9.png", ("kr\udce9is", "square")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of shapes, one of which is called in Latin-1, and a photo of such a name to label."""
    root = tmp_path_factory.mktemp("strange")
    for k, shape in enumerate(FOLDERS):
        folder = root / "photos" / shape
        folder.mkdir(parents=True)
        for i in range(4):
            with open(folder / f"{i}{STRANGE}", "wb") as file:
                draw(SHAPES[k], 10 * k + i).save(file, "PNG")
    (root / "photos" / "square" / "\udcff.doc").write_text("no photo")
    fewtune.adapt(root / "photos", backbone="pixels,size=8", method="centroid", cache=root / "cache").save(root / "run")
    return root


ENVIRONMENTS = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "utf-8"},
]


ALIKE = pytest.mark.slow  # a terminal of ASCII in another way, and each of these starts Python anew


@pytest.mark.parametrize("environment", [pytest.param(ENVIRONMENTS[0], marks=ALIKE), *ENVIRONMENTS[1:]], ids=["ascii", "C", "utf-8"])
def test_names_that_are_not_utf8_on_any_terminal(run: Path, environment: dict[str, str]) -> None:
    """JSON gives back the very names Python has for these files; nothing crashes."""
    script = (
        "import sys\nfrom fewtune.cli import main\nfor form in ('json', 'csv', 'table'):\n"
        f" sys.argv = ['fewtune', 'predict', {str(run / 'run')!r}, {str(run / 'photos')!r}, '--format', form, '--quiet']\n"
        " main()\n print('=====')\n"
        f"sys.argv = ['fewtune', 'inspect', {str(run / 'photos')!r}]\nmain()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout=120
    )
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    as_json, as_csv, table, inspected = ran.stdout.decode("utf-8").split("=====")
    answers = json.loads(as_json)
    expected = [str(run / "photos" / shape / f"{i}{STRANGE}") for shape in FOLDERS for i in range(4)]
    assert [a["input"] for a in answers] == expected
    assert all(Path(a["input"]).is_file() for a in answers)
    assert {a["label"] for a in answers} == {"kr\udce9is", "square"}
    assert len(as_csv.strip().splitlines()) == 9 and "square" in table and "square" in inspected


def test_the_escapes_are_those_of_json() -> None:
    from fewtune.cli.surroundings import mend_streams

    mend_streams()
    text = "é日\U0001f600\udce9"
    written = text.encode("ascii", "fewtune")
    assert json.loads(b'"' + written + b'"') == text
    assert "a─│b".encode("ascii", "fewtune") == b"a--b"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", "fewtune")


def test_a_photo_of_another_size_and_mode_is_labelled(run: Path, tmp_path: Path) -> None:
    Image.new("LA", (7, 90), (200, 10)).save(tmp_path / "grey.png")
    Image.new("1", (1, 1)).save(tmp_path / "dot.png")
    answers = fewtune.load(run / "run").predict([tmp_path / "grey.png", tmp_path / "dot.png"])
    assert [a.input for a in answers] == [str(tmp_path / "grey.png"), str(tmp_path / "dot.png")] and all(a.label for a in answers)
