"""Empty texts and lost files: refused by name, or left out with `skip_bad`, by every surface alike; never the word "nan"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fewtune
from fewtune.api.estimator import FewShotClassifier
from fewtune.api.functions import Model
from fewtune.errors import InputError
from tests.journeys.conftest import SHAPES, draw
from tests.tiny_text import tiny

pd = pytest.importorskip("pandas")

GOOD = "text,label\ncat red,cat\ncat blue,cat\ndog red,dog\ndog blue,dog\n"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{tiny(tmp_path_factory.mktemp('bert'), 0)}"


@pytest.fixture(scope="module")
def model(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp("good")
    (root / "good.csv").write_text(GOOD)
    fewtune.adapt(root / "good.csv", backbone=encoder, method="centroid", cache=root / "c").save(root / "run")
    return fewtune.load(root / "run")


def test_an_empty_text_of_a_table(tmp_path: Path, encoder: str, model: Model) -> None:
    hole = tmp_path / "hole.csv"
    hole.write_text(GOOD + ",cat\n")
    said = r"1 of 5 rows cannot be read: .*(hole.csv|data):\d \(the text is empty\).*pass --skip-bad \(in Python skip_bad=True\)\.$"
    for ask in (
        lambda **skip: fewtune.adapt(
            hole, backbone=encoder, method="centroid", cache=tmp_path / "c", settings=fewtune.AdaptSettings(**skip)
        ),
        lambda **skip: model.evaluate(hole, include_learned=True, **skip),
        lambda **skip: model.predict([hole], **skip),
        lambda **skip: model.predict(pd.read_csv(hole), **skip),
    ):
        with pytest.raises(InputError, match=said):
            ask()
        ask(skip_bad=True)
    answers = model.predict([hole], skip_bad=True)
    assert [a.label for a in answers] == ["cat", "cat", "dog", "dog", None] and answers[4].scores == {}
    assert model.evaluate(hole, include_learned=True, skip_bad=True).count == 4
    assert (
        fewtune.adapt(
            hole, backbone=encoder, method="centroid", cache=tmp_path / "c", settings=fewtune.AdaptSettings(skip_bad=True)
        ).bundle.facts["rows"]
        == 4
    )


@pytest.mark.parametrize("absent", [None, float("nan"), pd.NA, pd.NaT, np.nan, "", " "])
def test_a_missing_text_is_no_word(encoder: str, model: Model, absent: Any) -> None:
    rows = ["cat red", absent]
    for given in (rows, pd.Series(rows, dtype=object), np.array(rows, dtype=object)):
        with pytest.raises(InputError, match=r"1 of 2 rows cannot be read: .*\(the text is empty\)"):
            model.predict(given)
        assert [a.label for a in model.predict(given, skip_bad=True)] == ["cat", None]
    texts = FewShotClassifier("centroid", backbone=encoder).fit(["cat red", "dog blue"], ["cat", "dog"])
    for given in (rows, pd.Series(rows, dtype=object), np.array(rows, dtype=object)):
        with pytest.raises(ValueError, match=r"row 1 holds no text \(it is empty, None or NaN\)"):
            texts.predict(given)
        with pytest.raises(ValueError, match="row 1 holds no text"):
            texts.fit(given, ["a", "b"])


def test_no_rows_and_rows_that_are_no_texts(encoder: str, model: Model) -> None:
    texts = FewShotClassifier("centroid", backbone=encoder).fit(["cat red", "dog blue"], ["cat", "dog"])
    for nothing in ([], np.array([], dtype=object), pd.Series([], dtype=object)):
        with pytest.raises(ValueError, match=r"found 0 sample\(s\): expected at least one text"):
            texts.predict(nothing)
    with pytest.raises(ValueError, match="row 1 is a float: expected a text in each row"):
        texts.predict(["cat", 0.5])
    with pytest.raises(InputError, match=r"data holds no rows|expected something to label"):
        model.predict([])


def test_no_rows_of_vectors(tmp_path: Path) -> None:
    x = np.repeat(np.eye(2), 4, axis=0)
    fewtune.adapt((x, [0] * 4 + [1] * 4), method="centroid").save(tmp_path / "run")
    np.savez(tmp_path / "e.npz", x=np.zeros((0, 2), np.float32))
    model = fewtune.load(tmp_path / "run")
    assert model.predict([tmp_path / "e.npz"]) == model.predict(np.zeros((0, 2))) == []
    with pytest.raises(InputError, match="expected at least two classes"):
        fewtune.adapt((np.zeros((0, 2)), np.zeros(0)), method="centroid")


def test_lost_files_of_a_table(tmp_path: Path) -> None:
    lines = ["path,label"]
    for k, shape in enumerate(SHAPES[:2]):
        for i in range(3):
            draw(shape, 10 * k + i).save(tmp_path / f"{shape}{i}.png")
            lines.append(f"{shape}{i}.png,{shape}")
    (tmp_path / "good.csv").write_text("\n".join(lines))
    (tmp_path / "lost.csv").write_text("\n".join([*lines, f"gone.png,{SHAPES[0]}", f",{SHAPES[1]}"]))
    given: dict[str, Any] = {"backbone": "pixels,size=8", "method": "centroid", "cache": tmp_path / "c"}
    model = Model(fewtune.adapt(tmp_path / "good.csv", **given).bundle)
    said = r"2 of 8 rows cannot be read: .*gone.png|csv:8 \(No such file or directory\); .*csv:[89] \(no file is named\)"
    with pytest.raises(InputError, match=said):
        fewtune.adapt(tmp_path / "lost.csv", **given)
    with pytest.raises(InputError, match=said):
        model.predict([tmp_path / "lost.csv"])
    with pytest.raises(InputError, match=said):
        model.evaluate(tmp_path / "lost.csv", include_learned=True)
    assert fewtune.adapt(tmp_path / "lost.csv", settings=fewtune.AdaptSettings(skip_bad=True), **given).bundle.facts["rows"] == 6
    assert [a.label for a in model.predict([tmp_path / "lost.csv"], skip_bad=True)][6:] == [None, None]
    assert model.evaluate(tmp_path / "lost.csv", include_learned=True, skip_bad=True).count == 6
    draw(SHAPES[2], 7).save(tmp_path / "new.png")
    (tmp_path / "new.csv").write_text("path\nnew.png\ngone.png\n")
    with pytest.raises(InputError, match=r"1 of 2 rows cannot be read"):
        model.add_class("more", [tmp_path / "new.csv"])
    more = model.add_class("more", [tmp_path / "new.csv"], skip_bad=True)
    assert more.class_names[-1] == "more" and more.bundle.facts["shots"]["more"] == 1
