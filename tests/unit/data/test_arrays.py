"""Arrays given directly, in an .npz, and as encoded images with offsets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError

RNG = np.random.default_rng(0)
Y4 = [0, 1, 0, 1]


def fetched(examples: Any) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(examples.items.fetch(row)) for row in range(len(examples))])


def test_images_of_every_layout() -> None:
    colour = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    assert np.array_equal(fetched(read_examples((colour, Y4))), colour)
    assert np.array_equal(fetched(read_examples((np.moveaxis(colour, -1, 1), Y4))), colour)
    assert np.array_equal(fetched(read_examples((torch.from_numpy(colour).permute(0, 3, 1, 2), torch.tensor(Y4)))), colour)
    assert np.array_equal(fetched(read_examples((list(colour), Y4))), colour)
    assert np.array_equal(fetched(read_examples((colour.astype(np.int64), Y4))), colour)
    assert np.array_equal(fetched(read_examples((colour / 255, Y4))), colour)
    assert np.array_equal(fetched(read_examples(((colour / 255).astype(np.float16), Y4))), colour)
    grey = colour[..., 0]
    for given in (grey, grey[..., None], grey[:, None]):
        assert np.array_equal(fetched(read_examples((given, Y4))), np.repeat(grey[..., None], 3, axis=-1))
    assert fetched(read_examples((grey > 100, Y4))).max() == 255
    both = RNG.integers(0, 256, (4, 3, 8, 3), dtype=np.uint8)  # either reading fits: channels are last
    assert np.array_equal(fetched(read_examples((both, Y4))), both)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.zeros((4, 5, 6, 7), np.uint8), r"expected images with 1, 3 or 4 channels last .* found shape \[4, 5, 6, 7\]"),
        (np.full((4, 5, 5), 1.5), r"images of float64 from 1.5 to 1.5 are unclear: expected uint8 in 0..255, floats in 0..1 or int"),
        (np.full((4, 5, 5), np.nan), r"are unclear"),
        (np.full((4, 5, 5), 300), r"images of int64 from 300 to 300"),
        (np.zeros((4, 0, 5), np.uint8), r"at least one pixel"),
        (np.zeros(4), r"expected images \[N, H, W\(, C\)\], vectors \[N, D\] or strings"),
        (np.zeros((4, 2), complex), r"found complex128"),
        (np.zeros((4, 0)), r"expected vectors \[N, D\], found \[4, 0\]"),
        ([np.zeros(2), np.zeros(3)] * 2, r"rows of x differ in shape"),
        ([{}, 1, "a", None], r"expected"),
        (7, r"expected an array, or a list of paths, strings or pictures, found int"),
        ("abcd", r"expected an array, or a list"),
    ],
)
def test_inputs_that_are_refused(x: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_examples((x, np.array(Y4)))


def test_vectors_must_be_finite() -> None:
    x = RNG.random((5, 3))
    made = read_examples((x, [0, 1, 0, 1, 1]))
    assert made.modality == "vector" and np.array_equal(fetched(made), x.astype(np.float32))
    for value in (np.nan, np.inf, 1e300):  # the last does not fit float32
        bad = x.copy()
        bad[[2, 4], 1] = value
        with pytest.raises(InputError, match="data: row 2 and 1 more rows hold NaN or infinite values"):
            read_examples((bad, [0, 1, 0, 1, 1]))
    assert np.array_equal(fetched(read_examples((torch.ones(2, 3, dtype=torch.bfloat16), [0, 1]))), np.ones((2, 3)))


def test_labels_of_every_kind() -> None:
    x = np.eye(4)
    cases: list[tuple[Any, tuple[str, ...], list[int]]] = [
        ([10, 9, 10, -1], ("-1", "9", "10"), [2, 1, 2, 0]),
        (np.array([10, 9, 10, -1]), ("-1", "9", "10"), [2, 1, 2, 0]),
        (np.array([0.0, np.nan, 1.0, 1.0]), ("0", "1"), [0, -1, 1, 1]),
        ([0.0, float("nan"), 1.0, None], ("0", "1"), [0, -1, 1, -1]),
        (["b", "a", "", None], ("a", "b"), [1, 0, -1, -1]),
        (np.array(["b", "a", "nan", "a"]), ("a", "b", "nan"), [1, 0, 2, 0]),
        (np.array([b"b", b"a", b"", b"a"]), ("a", "b"), [1, 0, -1, 0]),
        (np.array([True, False, True, True]), ("False", "True"), [1, 0, 1, 1]),
        (torch.tensor([[3], [4], [3], [3]]), ("3", "4"), [0, 1, 0, 0]),
    ]
    for y, names, labels in cases:
        made = read_examples((x, y))
        assert made.class_names == names and made.labels.tolist() == labels
    for y in ([1, 0, 1, -1], np.array([1, 0, 1, -1]), np.array([1.0, 0.0, 1.0, np.nan])):  # here integers count into the names
        made = read_examples({"X": x, "y": y, "names": ["a", "b"]})
        assert made.class_names == ("a", "b") and made.labels.tolist() == [1, 0, 1, -1]


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        ([0, 1], "expected one label for each row, found 4 rows and 2 labels"),
        (np.array([0.5, 1, 1, 1]), r"label 0.5 is not a class: expected whole numbers or names \(kind='float'"),
        ([0.5, 1, 1, 1], "label 0.5 of row 0 is not a class"),
        (np.zeros((4, 2)), r"found labels of shape \[4, 2\] \(kind='multi'"),
        ([1, 1, 1, 1], "expected at least two classes, found one, '1'"),
        ([None, 1, 1, float("nan")], "expected at least two classes, found one, '1'"),
        (np.array([1.0, 2.0, np.inf, 1.0]), "label inf is not a class"),
        (np.array(3), "found 4 rows and one label"),
        (np.array([b"a", b"b", b"\xff", b"a"]), "label of row 2 is not UTF-8 text"),
        (None, "expected at least two classes, found no labels"),
    ],
)
def test_labels_that_are_refused(y: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_examples((np.eye(4), y))


def test_class_names_must_cover_the_labels() -> None:
    with pytest.raises(InputError, match="labels go from 0 to 2, but there are 2 class names"):
        read_examples({"x": np.eye(3), "y": [0, 1, 2] @ np.eye(3, dtype=int), "names": ["a", "b"]})
    with pytest.raises(InputError, match="label 'c' is not among the class names a, b"):
        read_examples({"x": np.eye(3), "y": ["a", "b", "c"], "names": ["a", "b"]})


def test_float_and_multi_hot_targets() -> None:
    x = np.eye(3)
    assert read_examples((x, np.array([1.0, 2.5, np.nan])), kind="float").column.values.shape == (3, 1)
    wide = np.array([[1.0, 2], [3, 4], [5, 6]])
    assert np.array_equal(read_examples((x, wide), kind="float").column.values, wide)
    hot = np.array([[0, 1], [1, 1], [-1, -1]])
    made = read_examples({"x": x, "y": hot, "names": ["u", "v"]}, kind="multi")
    assert np.array_equal(made.column.values, hot) and made.class_names == ("u", "v")
    with pytest.raises(InputError, match="expected 0 and 1"):
        read_examples((x, hot + 2), kind="multi")
    with pytest.raises(InputError, match="row 0 holds inf: numbers from -1e100 to 1e100 are expected"):
        read_examples((x, np.array([np.inf, 1, 2])), kind="float")
    with pytest.raises(InputError, match=r"row 1 holds -1e\+101: numbers from"):
        read_examples((x, np.array([1e100, -1e101, 2])), kind="float")
    with pytest.raises(InputError, match="row 0 holds 1 number, other rows 2: give all rows the same"):
        read_examples((x, [[1.0], [1.0, 2.0], [3.0, 4.0]]), kind="float")


@pytest.mark.parametrize(
    "values",
    [
        [None, ["a"], ["b", "a"], []],
        [["a", "b"], None, ["a"], np.array(["b"])],
        ["a|b", ["a"], None, "b"],
        [np.array(["a", "b"]), np.array(["a"]), None, np.array([])],
        [1, [1, 2], None, [2]],
    ],
)
def test_lists_of_names_of_any_length_are_several_labels(values: list[Any]) -> None:
    made = read_examples((np.eye(4), values), kind="multi")
    missing = [value is None for value in values].index(True)
    assert len(made.class_names) == 2 and np.flatnonzero(~made.column.known).tolist() == [missing]
    sizes = [value.count("|") + 1 if isinstance(value, str) else np.size(value) for value in values if value is not None]
    assert np.delete(made.column.values, missing, 0).sum(1).tolist() == sizes


def test_lists_of_paths_and_of_texts(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for i, path in enumerate(paths):
        Image.new("L", (2, 2), i).save(path)
    for given in (paths, [str(p) for p in paths], np.array([str(p) for p in paths]), np.array(paths, dtype=object)):
        made = read_examples((given, ["u", "v"]))
        assert made.modality == "image" and made.row_names == [str(p) for p in paths] and fetched(made)[1].max() == 1
    assert read_examples((["a sentence", "photo.png"], ["u", "v"])).modality == "text"
    with pytest.raises(InputError, match=r"none of 1 files exists: .*c\.png"):
        read_examples(([None, tmp_path / "c.png"], ["u", "v"]))
    some = read_examples(([paths[0], tmp_path / "c.png", None], ["u", "v", "u"]))
    assert unreadable(some) == {1: "No such file or directory", 2: "no file is named"} and some.row_names[2] == "data:2"


@pytest.mark.parametrize("absent", [None, float("nan"), "", " "])
def test_missing_texts_are_empty_and_never_the_word_nan(absent: Any) -> None:
    for given in (["a text", absent, "another"], np.array(["a text", absent, "another"], dtype=object)):
        made = read_examples((given, ["u", "v", "u"]))
        assert made.modality == "text" and made.items.fetch(1).strip() == ""
        assert unreadable(made) == {1: "the text is empty"}
    with pytest.raises(InputError, match="row 1 is a float: expected a text, or a path, in each row"):
        read_examples((["a text", 0.5], ["u", "v"]))
    with pytest.raises(InputError, match=r"all 2 rows are missing \(None or NaN\): expected texts"):
        read_examples(([None, float("nan")], ["u", "v"]))


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "photos.npz"
    x = RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    split = np.array(["train", "val", "test", "any"])
    np.savez_compressed(
        path, x=x, y=np.array([1, 0, 1, -1], np.int16), names=np.array(["a", "b"]), groups=np.array(["g", "", "h", "g"]), split=split
    )
    made = read_examples(path)
    assert made.name == "photos" and made.class_names == ("a", "b") and made.labels.tolist() == [1, 0, 1, -1]
    assert made.group.tolist() == [0, -1, 1, 0] and made.row_split.tolist() == [0, 1, 2, -1]
    np.savez(path, X=np.array(["eins", "zwei"]), labels=np.array(["a", "b"]), class_names=np.array(["b", "a"]), split=np.array([2, 3]))
    made = read_examples(path)
    assert made.modality == "text" and made.labels.tolist() == [1, 0] and made.row_split.tolist() == [2, -1]


def test_npz_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, z=np.zeros(3))
    with pytest.raises(InputError, match="a holds the arrays z: expected x and y"):
        read_examples(path)
    np.savez(path, x=np.array([{}, []], dtype=object), y=np.arange(2))
    with pytest.raises(InputError, match="holds Python objects, which are never loaded"):
        read_examples(path)
    content = path.read_bytes()
    for broken in (b"", b"nonsense", content[: len(content) // 2], b"PK\x03\x04" + bytes(50)):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.npz cannot be read as \.npz"):
            read_examples(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="is a single array"):
        read_examples(path)


def packed(images: list[Image.Image], **more: Any) -> dict[str, np.ndarray[Any, Any]]:
    pieces = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        pieces.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, pieces)])
    return {"bytes": np.frombuffer(b"".join(pieces), np.uint8), "offsets": offsets, **{k: np.asarray(v) for k, v in more.items()}}


def test_encoded_images_with_offsets(tmp_path: Path) -> None:
    images = [Image.new("RGB", (3 + i, 4), (i, 0, 0)) for i in range(4)]
    names = ["u", "v", "w"]
    arrays = packed(images, label=[2, 0, -1, 1], class_names=names, class_split=[0, 3, 2], image_split=[0, 1, 2, 3], group=[1, 0, -1, 0])
    np.savez(tmp_path / "k.npz", **arrays, group_names=np.array(["g", "h"]), path=np.array(list("abcd")), sentence=np.array(list("stuv")))
    made = read_examples(tmp_path / "k.npz")
    assert made.class_names == ("u", "v", "w") and made.labels.tolist() == [2, 0, -1, 1] and made.class_split.tolist() == [0, -1, 2]
    assert made.row_split.tolist() == [0, 1, 2, -1] and made.group.tolist() == [1, 0, -1, 0] and made.caption == list("stuv")
    assert made.row_names == list("abcd") and [made.items.fetch(i).size for i in range(4)] == [(3, 4), (4, 4), (5, 4), (6, 4)]
    np.savez(tmp_path / "k.npz", **{**arrays, "group": np.array([7, 9, 7, 10])})  # numbered groups without names
    assert read_examples(tmp_path / "k.npz").group.tolist() == [1, 2, 1, 0]  # names "10", "7", "9"
    faults = {
        "offsets": (np.array([0, 5, 3, 9, 12]), "`offsets` must rise"),
        "bytes": (np.zeros(3, np.float32), "expected `bytes` as one row of uint8, found float32"),
        "label": (np.array([0, 1]), r"expected `label` as 4 integers, found int64 \[2\]"),
    }
    for key, (value, sentence) in faults.items():
        np.savez(tmp_path / "k.npz", **{**arrays, key: value})
        with pytest.raises(InputError, match=sentence):
            read_examples(tmp_path / "k.npz")


def test_a_row_space_passes_the_size_that_its_preparation_wants() -> None:
    wanted: list[int | None] = []

    class Spy:
        modality = "image"

        def __len__(self) -> int:
            return 2

        def fetch(self, row: int, size_hint: int | None = None) -> int:
            wanted.append(size_hint)
            return row

        def digest(self, row: int) -> bytes:
            return bytes([row])

    class Preparation:
        modality = "image"
        size_hint = 96

        def prepare(self, item: Any) -> Any:
            return item

        def batch(self, prepared: Any) -> Any:
            return list(prepared)

    from fewtune.data.examples import make_examples

    space = RowSpace([make_examples(Spy(), [0, 1], name="one"), make_examples(Spy(), [0, 1], name="two")])  # type: ignore[arg-type]
    assert space.gather([3, 0], Preparation()) == [1, 0] and wanted == [96, 96]  # type: ignore[arg-type]
    del Preparation.size_hint
    space.gather([2], Preparation())  # type: ignore[arg-type]
    assert wanted[-1] is None
