"""A torch Dataset as data: rows come when they are asked for, labels once, names from `.classes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

import fewtune
from fewtune.data.examples import Examples
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from tests.tiny import images


class Photos(Dataset[Any]):
    """As torchvision has them: Pillow images, `.targets`, `.classes`; it counts how often a row is asked for."""

    def __init__(self, count: int = 6) -> None:
        self.pictures, self.targets = images(count), [i % 3 for i in range(count)]
        self.classes, self.asked = ["zebra", "ant", "cat"], 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        self.asked += 1
        return Image.fromarray(self.pictures[row]), self.targets[row]


class Plain(Dataset[Any]):
    """Rows of any kind, and nothing else."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


def named(made: Examples) -> list[str]:
    return [made.class_names[label] for label in made.labels]


def test_photos_are_fetched_when_asked_for_and_labels_come_from_targets() -> None:
    dataset = Photos()
    made = read_examples(dataset)
    assert dataset.asked <= 3  # the first row: what it is, and whether it stays
    assert made.class_names == ("zebra", "ant", "cat") and made.labels.tolist() == [0, 1, 2, 0, 1, 2] and made.modality == "image"
    before = dataset.asked
    for row in (4, 1):
        assert np.array_equal(np.asarray(made.items.fetch(row)), dataset.pictures[row])
    assert dataset.asked == before + 2 and len(set(made.row_digests)) == 6


def test_a_subset_has_the_names_and_the_labels_of_the_whole() -> None:
    dataset = Photos()
    made = read_examples(Subset(Subset(dataset, [5, 3, 1, 2]), [0, 2, 3]))
    assert dataset.asked <= 3 and named(made) == ["cat", "ant", "cat"]
    assert np.array_equal(np.asarray(made.items.fetch(1)), dataset.pictures[1])


def test_labels_are_read_from_the_rows_where_nothing_else_has_them() -> None:
    dataset = Photos()
    dataset.target_transform = object()  # type: ignore[attr-defined]  # then targets are not what rows give
    assert named(read_examples(dataset)) == ["zebra", "ant", "cat"] * 2 and dataset.asked >= 6
    assert named(read_examples(ConcatDataset([Plain(("a b", "x")), Plain(("c", "y"))]))) == ["x", "y"]


def test_texts_vectors_arrays_and_tensors() -> None:
    assert read_examples(Plain(("one", 3), ("two", 7))).class_names == ("3", "7")
    vectors = read_examples(Plain((torch.tensor([1.0, 2]), torch.tensor(0)), (np.array([3, 4.5]), np.int64(1))))
    assert vectors.modality == "vector" and vectors.items.fetch(1).tolist() == [3, 4.5] and vectors.class_names == ("0", "1")  # type: ignore[union-attr]
    picture = torch.zeros(3, 4, 5)
    picture[0] = 1  # red, as torchvision's ToTensor gives it
    pictures = read_examples(Plain((picture, "a"), (np.full((2, 2), 9, dtype=np.uint8), "b")))
    red, grey = (np.asarray(pictures.items.fetch(row)) for row in (0, 1))
    assert red.shape == (4, 5, 3) and (red == [255, 0, 0]).all() and (grey == 9).all()


def test_a_tensor_dataset_is_a_pair_of_arrays() -> None:
    x, y = torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 0, 5])
    made = read_examples(TensorDataset(x, y))
    assert made.class_names == ("0", "1", "5") and made.items.fetch(3).tolist() == [6, 7]  # type: ignore[union-attr]
    part = read_examples(Subset(TensorDataset(x, y), [3, 1]))
    assert named(part) == ["5", "1"] and part.items.fetch(0).tolist() == [6, 7]  # type: ignore[union-attr]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([("a", 0)])


class Noisy(Photos):
    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return torch.rand(3, 8, 8), 0


class Broken(Photos):
    def __getitem__(self, row: int) -> tuple[Any, Any]:
        raise RuntimeError("the disk is gone")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Stream(), "a streaming torch Dataset: expected one with a length"),
        (Noisy(), "gives a different row 0 each time"),
        (Broken(), r"data:0 cannot be read \(RuntimeError: the disk is gone\)"),
        (Plain(), "without rows"),
        (Plain({"image": 1}), "data:0 is a dict: expected rows"),
        (Plain((torch.zeros(2, 3, 4, 5), 0)), r"data:0 is a ndarray \[2, 3, 4, 5\]"),
        (Plain("a", "b"), "row 0 is a str: expected rows"),
        (Plain(("a", 0, 1), ("b", 1, 1)), "row 0 is 3 values"),
        (Plain(("a", 0), ("b", 0)), "at least two classes"),
    ],
)
def test_what_cannot_be_read_is_refused(dataset: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_examples(dataset)


def test_a_row_of_another_kind_is_named() -> None:
    made = read_examples(Plain(("a", 0), (torch.zeros(3), 1)))
    with pytest.raises(InputError, match="data:1 is a vector, and the rows before it are texts"):
        made.items.fetch(1)


def test_a_model_is_made_of_it_and_labels_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path))
    x = np.eye(3, 5, dtype=np.float32)[np.arange(12) % 3] + 0.01 * np.arange(12, dtype=np.float32)[:, None]
    rows = [(torch.from_numpy(row), f"class {i % 3}") for i, row in enumerate(x)]
    adapted = fewtune.adapt(Plain(*rows), method="centroid")
    assert [p.label for p in adapted.predict(Plain(*(row for row, _ in rows)))] == [label for _, label in rows]
