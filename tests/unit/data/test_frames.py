"""pandas data frames and Hugging Face datasets, where those libraries are installed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"text": ["a", "b", "c", "d"], "label": ["x", None, "y", float("nan")], "split": ["train", "test", None, "dev"]}
    )
    frame.index = [10, 20, 30, 40]
    made = read_examples(frame, name="mine")
    assert made.labels.tolist() == [0, -1, 1, -1] and made.row_split.tolist() == [0, 2, -1, 1]
    assert made.row_names[1] == "mine:20" and made.items.fetch(3) == "d"
    kinds = pandas.DataFrame({"text": ["a", "b", "c"], "label": pandas.array([1, None, 2], dtype="Int64")})
    assert read_examples(kinds).class_names == ("1", "2") and read_examples(kinds).labels.tolist() == [0, -1, 1]
    numbers = pandas.DataFrame({"text": ["a", "b", "c"], "label": [1.0, None, 2.0]})  # what pandas makes of integers with a gap
    assert read_examples(numbers).class_names == ("1", "2")
    words = pandas.DataFrame({"text": ["a", "b"], "label": pandas.Categorical(["u", "v"])})
    assert read_examples(words).class_names == ("u", "v")
    vectors = pandas.DataFrame({"embedding": [np.ones(3), np.zeros(3)], "label": ["u", "v"]})
    assert read_examples(vectors).modality == "vector"
    twice = pandas.DataFrame([["a", "b", "x"]], columns=["text", "text", "label"])
    with pytest.raises(InputError, match="several columns named 'text'"):
        read_examples(twice)
    with pytest.raises(InputError, match="unknown label column 'labl': did you mean label"):
        read_examples(words, label="labl")


@pytest.fixture
def features() -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Features(
        {"picture": datasets.Image(), "kind": datasets.Value("string"), "label": datasets.ClassLabel(names=["v", "u"])}
    )


def test_datasets_keep_images_encoded(features: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "a.png"
    path.write_bytes(png(7))
    rows = {
        "picture": [{"bytes": png(5), "path": None}, str(path), {"bytes": b"junk", "path": None}],
        "kind": ["a", "b", "c"],
        "label": [1, 0, -1],
    }
    made = read_examples(datasets.Dataset.from_dict(rows, features=features), name="hub")
    assert made.modality == "image" and made.class_names == ("v", "u") and made.labels.tolist() == [1, 0, -1]
    assert [np.asarray(made.items.fetch(row))[0, 0, 0] for row in (0, 1)] == [5, 7]
    with pytest.raises(InputError, match="hub:2 cannot be read as an image"):
        made.items.fetch(2)
    assert len({made.items.digest(row) for row in range(3)}) == 3
    path.unlink()
    with pytest.raises(InputError, match="hub:1 cannot be read: No such file"):
        made.items.fetch(1)


def test_dataset_dicts_and_texts() -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    made = read_examples(datasets.DatasetDict(train=part, validation=part, test=part, unsupervised=part))
    assert made.row_split.tolist() == [0, 0, 1, 1, 2, 2, -1, -1] and made.class_names == ("x", "y")
    assert [made.items.fetch(row) for row in (0, 5)] == ["a", "b"]
    with pytest.raises(InputError, match="is a streaming dataset"):
        read_examples(part.to_iterable_dataset())
    vectors = datasets.Dataset.from_dict({"vector": [[1.0, 2.0], [3.0, 4.0]], "label": ["x", "y"]})
    assert read_examples(vectors).modality == "vector"
    other = datasets.Dataset.from_dict({"text": [1, 2], "label": ["x", "y"]})
    with pytest.raises(InputError, match="do not fit together"):
        read_examples(datasets.DatasetDict(train=part, test=other))
