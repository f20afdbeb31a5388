"""One door for pictures: whatever kind comes in, on whatever surface, the same pixels and the same answers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import fewtune
from fewtune.data.audit import inspect_examples
from fewtune.data.images import decode
from fewtune.data.pixels import as_pixels, one_or_many
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_asked, read_examples
from fewtune.errors import InputError
from fewtune.models.predict import predict_examples, wanted_by

RNG = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


def picture(red: int, blue: int, seed: int = 0) -> Array:
    """[9, 7, 3], reddish or bluish noise: no axis has the length of another, or of the channels."""
    noise = np.random.default_rng(seed).integers(0, 60, (9, 7, 3))
    return (noise + np.array([red, 20, blue])).astype(np.uint8)


X = np.stack([picture(*colours, seed=seed) for colours in ((180, 10), (10, 180), (90, 90)) for seed in range(4)])
Y = ["red"] * 4 + ["blue"] * 4 + ["grey"] * 4
ONE = picture(170, 25, seed=9)


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def loaded(content: bytes) -> Image.Image:
    image = opened(content)
    image.load()
    return image


OPEN = contextlib.ExitStack()


def opened_by_path(path: Path) -> Image.Image:
    """An image that nobody loads keeps its file open; here it is closed at the end of the module."""
    return OPEN.enter_context(Image.open(path))


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    with OPEN:
        yield


def same(found: list[Any], scores: dict[str, float]) -> bool:
    """Whether all have these scores, but for what the number of rows in a product changes in the last bits."""
    return all(a.scores == pytest.approx(scores, abs=1e-6) for a in found)


FILE = png(Image.fromarray(ONE))
KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda folder: folder / "one.png",
    "string": lambda folder: str(folder / "one.png"),
    "bytes": lambda _: FILE,
    "bytearray": lambda _: bytearray(FILE),
    "opened": lambda _: opened(FILE),
    "opened by path": lambda folder: opened_by_path(folder / "one.png"),
    "loaded": lambda _: loaded(FILE),
    "made": lambda _: Image.fromarray(ONE),
    "[H, W, C]": lambda _: ONE,
    "[C, H, W]": lambda _: ONE.transpose(2, 0, 1),
    "[1, H, W, C]": lambda _: ONE[None],
    "[1, C, H, W]": lambda _: ONE.transpose(2, 0, 1)[None],
    "floats": lambda _: ONE / 255,
    "single": lambda _: (ONE / 255).astype(np.float32),
    "int64": lambda _: ONE.astype(np.int64),
    "16 bits": lambda _: ONE.astype(np.uint16) * 257,
    "tensor": lambda _: torch.from_numpy(ONE).permute(2, 0, 1).float() / 255,
    "nested lists": lambda _: ONE.tolist(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pictures")
    (where / "one.png").write_bytes(FILE)
    return where


@pytest.fixture(scope="module")
def model() -> Any:
    return fewtune.Model(fewtune.adapt((X, Y), backbone="pixels,size=8", method="ridge(penalty=1)").bundle)


@pytest.fixture(scope="module")
def estimator() -> fewtune.FewShotClassifier:
    return fewtune.FewShotClassifier("ridge(penalty=1)", backbone="pixels,size=8").fit(X, Y)


ALONE = [kind for kind in KINDS if kind not in ("string", "nested lists")]


@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_has_one_answer_whatever_it_is(kind: str, folder: Path, model: Any, estimator: Any) -> None:
    """Alone, in a list, in a mixed list, an object array and a frame: the scores of the file."""
    value = KINDS[kind](folder)
    (expected,) = model.predict([folder / "one.png"])
    assert expected.label == "red"
    answers = model.predict(value)
    assert len(answers) == 1 and answers[0].scores == expected.scores
    expected_p = estimator.predict_proba([str(folder / "one.png")])
    if kind != "string":  # a string alone is a table or a folder to the model, and no row to scikit-learn
        np.testing.assert_array_equal(estimator.predict_proba(value), expected_p)
    if kind.startswith("[1"):
        return
    mixed = [value, FILE, Image.fromarray(X[4]), X[5][:5], folder / "one.png"]
    assert [a.label for a in model.predict(mixed)] == ["red", "red", "blue", "blue", "red"]
    assert same([model.predict(mixed)[row] for row in (0, 1, 4)], expected.scores)
    assert list(estimator.predict(mixed)) == ["red", "red", "blue", "blue", "red"]
    both = np.empty(2, dtype=object)
    both[0], both[1] = value, FILE
    frame = pd.DataFrame({"image": [value, FILE], "label": ["red", "blue"]})
    frames = [frame, pd.DataFrame({"image": [value, value]})]
    for inputs in (*frames, [value, FILE], (value, FILE), both, both[:, None], pd.Series([value, FILE])):
        assert len(model.predict(inputs)) == 2 and same(model.predict(inputs), expected.scores), type(inputs)
    for inputs in ([value, FILE], both, pd.Series([value, FILE]), frame[["image"]]):
        np.testing.assert_allclose(estimator.predict_proba(inputs), expected_p.repeat(2, 0), atol=1e-6)
    assert model.evaluate(frame).count == 2 and model.evaluate(([value, FILE], ["red", "red"])).accuracy.mean == 1
    learned = fewtune.adapt(([value, X[4], X[5], FILE], ["u", "v", "v", "u"]), backbone="pixels,size=8", method="centroid")
    assert learned.predict([value])[0].label == "u"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("[1")])
def test_the_pixels_are_those_of_the_file(kind: str, folder: Path) -> None:
    made = read_examples(([KINDS[kind](folder), FILE], [0, 1]))
    assert made.modality == "image" and np.array_equal(np.asarray(made.items.fetch(0)), ONE)
    audit = inspect_examples(made)
    assert audit.width is not None and (audit.width.least, audit.width.most, audit.unreadable) == (7, 7, {})


def test_the_same_content_is_known_again(folder: Path) -> None:
    """A file, its bytes and the image opened from it; an array, the image made of it, and its floats."""
    encoded = read_examples(([folder / "one.png", FILE, opened(FILE), opened_by_path(folder / "one.png")], list("uvuv"))).row_digests
    decoded = read_examples(([ONE, Image.fromarray(ONE), loaded(FILE), ONE / 255], list("uvuv"))).row_digests
    assert len(set(encoded)) == 1 and len(set(decoded)) == 1 and encoded[0] != decoded[0]
    assert decoded[0] == read_examples((X[:1].repeat(2, 0) * 0 + ONE, list("uv"))).row_digests[0]


MODES = ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]


def in_mode(mode: str) -> Image.Image:
    base = Image.fromarray(np.concatenate([ONE, np.full((9, 7, 1), 200, np.uint8)], axis=2))
    if mode == "I;16":
        return Image.fromarray(ONE[..., 0].astype(np.uint16) * 16)
    if mode in ("I", "F"):
        return base.convert("L").convert(mode)
    if mode in ("RGBa", "La"):
        return base.convert({"RGBa": "RGBA", "La": "LA"}[mode]).convert(mode)
    if mode == "PA":
        return base.convert("RGB").convert("P").convert("PA")
    return base.convert(mode) if mode == "RGBA" else base.convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow_is_a_picture(mode: str, model: Any) -> None:
    assert model.predict(in_mode(mode))[0].label in ("red", "blue", "grey")
    assert np.asarray(read_asked(([in_mode(mode)], None), Asked(labelled=False)).items.fetch(0)).shape == (9, 7, 3)


def test_modes_by_hand() -> None:
    def first(image: Image.Image) -> list[int]:
        found: list[int] = np.asarray(read_asked(([image], None), Asked(labelled=False)).items.fetch(0))[0, 0].tolist()
        return found

    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert first(palette) == [10, 20, 30]
    palette.info["transparency"] = 1
    assert first(palette) == [255, 255, 255]
    assert first(Image.new("CMYK", (2, 1), (255, 0, 0, 0))) == [0, 255, 255]
    assert first(Image.new("LA", (2, 1), (0, 128))) == [127, 127, 127]
    assert first(Image.new("RGBA", (2, 1), (255, 0, 0, 0))) == [255, 255, 255]
    assert first(Image.new("1", (2, 1), 1)) == [255, 255, 255]
    assert first(Image.fromarray(np.array([[4095, 0]], np.uint16))) == [255, 255, 255]
    assert first(Image.fromarray(np.array([[0.5, 1]], np.float32))) == [128, 128, 128]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_to_images_of_pillow_too(turn: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    buffer = io.BytesIO()
    Image.fromarray(ONE).save(buffer, kind, exif=exif)
    content = buffer.getvalue()
    upright = np.asarray(decode(content, name="x"))
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(opened(content)).convert("RGB")))
    copies = [opened(content), loaded(content), ImageOps.exif_transpose(opened(content)), opened(content).convert("RGB")]
    made = read_examples((copies, [0, 1, 0, 1]))
    for row in range(4):
        image = made.items.fetch(row)
        assert np.array_equal(np.asarray(image), upright)
        again = read_examples(([image, image], [0, 1]))  # what was turned is not turned again
        assert np.array_equal(np.asarray(again.items.fetch(0)), upright)


def test_an_image_changed_after_it_was_opened_is_taken_as_it_is() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    second = Image.open(buffer)
    second.seek(1)
    buffer = io.BytesIO()
    Image.fromarray(np.tile(ONE, (20, 20, 1))).save(buffer, "JPEG")
    reduced = Image.open(buffer)
    reduced.draft(None, (40, 40))
    made = read_examples(([second, reduced], [0, 1]))
    assert np.asarray(made.items.fetch(0))[0, 0].tolist() == [0, 0, 255]
    assert np.asarray(made.items.fetch(1)).shape == (90, 70, 3)


@pytest.mark.parametrize(
    ("shape", "taught", "count"),
    [
        ((9, 7), None, 1),
        ((9, 7, 3), None, 1),
        ((9, 7, 1), None, 1),
        ((9, 7, 4), None, 1),
        ((3, 9, 7), None, 1),
        ((3, 9, 7), (9, 7), 3),
        ((3, 9, 7), (7, 9), 1),
        ((1, 9, 7), None, 1),
        ((4, 9, 7), None, 4),
        ((2, 9, 7), None, 2),
        ((5, 9, 3), (9, 3), 5),
        ((5, 9, 3), None, 1),
        ((2, 9, 7, 3), None, 2),
        ((2, 3, 9, 7), None, 2),
    ],
)
def test_an_array_is_one_picture_or_several(shape: tuple[int, ...], taught: tuple[int, int] | None, count: int) -> None:
    x = RNG.integers(0, 256, shape).astype(np.uint8)
    many = one_or_many(x, taught)
    assert len(many) == count and as_pixels(many, "x").shape[0] == count
    assert np.array_equal(many.ravel(), x.ravel())


def test_a_model_of_grey_arrays_takes_three_of_them_as_three(tmp_path: Path) -> None:
    grey = X[..., 0] // 2 + X[..., 2] // 3
    adapted = fewtune.adapt((grey, Y), backbone="pixels,size=8", method="centroid")
    adapted.save(tmp_path / "m")
    estimator = fewtune.FewShotClassifier("centroid", backbone="pixels,size=8").fit(grey, Y)
    for predict in (adapted.predict, fewtune.load(tmp_path / "m").predict, estimator.predict):
        for count in (1, 2, 3, 4, 12):
            assert len(predict(grey[:count])) == count
        assert len(predict(grey[0])) == 1 and len(predict(grey[:3, :5])) == 1
        assert len(predict(list(grey[:3]))) == 3 == len(predict(list(grey[:3, :5])))
    assert estimator.picture_size_ == (9, 7)
    assert fewtune.FewShotClassifier("centroid", backbone="pixels,size=8").fit(X, Y).picture_size_ is None


def test_files_of_arrays_and_tables_take_the_same_door(model: Any, folder: Path) -> None:
    expected = model.predict(folder / "one.png")[0].scores
    np.savez(folder / "one.npz", x=ONE)
    np.savez(folder / "both.npz", x=np.stack([ONE, X[4]]).astype(np.uint16) * 257)
    pq.write_table(pa.table({"image": [FILE, FILE]}), folder / "bytes.parquet")
    pq.write_table(pa.table({"image": [{"bytes": FILE, "path": None}, {"bytes": None, "path": "one.png"}]}), folder / "mixed.parquet")
    for name, count in (("one.npz", 1), ("both.npz", 2), ("bytes.parquet", 2), ("mixed.parquet", 2)):
        answers = predict_examples(model.bundle, read_inputs([folder / name], [], wanted_by(model.bundle)))
        assert len(answers) == count == len(model.predict(folder / name)) and same(answers[:1], expected), name
    assert model.evaluate((ONE, ["red"])).count == 1


BAD: list[tuple[Any, str]] = [
    (b"no image", r"data:0 \(its first bytes belong to no known format"),
    ([b"\xff\xfe\x00", FILE], r"data:0 \(its first bytes belong to no known format"),
    (FILE[: len(FILE) // 2], "cannot be read"),
    ([FILE, None], r"1 of 2 rows cannot be read: data:1 \(the picture is missing\)"),
    ([FILE, {}, float("nan"), " "], r"3 of 4 rows cannot be read: data:1 \(the picture is missing\)"),
    ([FILE, 7], "data:1: expected a picture .* found a value of type int"),
    ([FILE, np.zeros(3)], r"data:1: expected one picture .* found float64 \[3\]"),
    ([FILE, [[1], [2, 3]]], r"data:1: expected one picture .* found object \[\]"),
    ([FILE, np.zeros((2, 9, 7, 3))], r"data:1: expected one picture .* found float64 \[2, 9, 7, 3\]"),
    ([FILE, ONE * 2.0], "data:1: images of float64 from .* are unclear"),
    ([FILE, Path("gone.png")], r"1 of 2 rows cannot be read: gone.png \(No such file"),
    ([FILE, "x" * 5000], "File name too long"),
    (["x" * 5000 + ".png"], "does not exist|cannot be read"),
    (Image.new("RGB", (0, 5)), "no pixels"),
    (np.zeros((0, 5), np.uint8), "at least one pixel"),
    (np.zeros((9, 7, 2), np.complex64), "found complex64"),
    (np.array(3), r"found int64 \[\]"),
    (np.array(None), r"found object \[\]"),
    (7, "expected an array, or a list"),
    ({}, "a dict cannot be read"),
]


@pytest.mark.parametrize(("inputs", "sentence"), BAD)
def test_what_is_no_picture_is_said_in_one_sentence(inputs: Any, sentence: str, model: Any, estimator: Any) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        model.predict(inputs)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError):
        estimator.predict(inputs)


def test_bytes_for_a_collection_of_unknown_kind() -> None:
    assert read_asked(([b"a", "é".encode()], None), Asked(labelled=False)).items.fetch(1) == "é"
    with pytest.raises(InputError, match="row 1 is not UTF-8 text"):
        read_examples(([b"a", b"\xff\xfe"], [0, 1]))
    with pytest.raises(InputError, match="expected one label for each row, found 1 rows and 2"):
        read_examples((FILE, [0, 1]))


def test_bad_pictures_can_be_skipped_wherever_they_are(model: Any) -> None:
    broken = opened(FILE[:60])
    answers = model.predict([FILE, b"junk", broken, Image.new("RGB", (0, 3)), ONE], skip_bad=True)
    assert [a.label for a in answers] == ["red", None, None, None, "red"]
    audit = inspect_examples(read_examples(([FILE, b"junk", broken, Image.new("RGB", (0, 3)), ONE], list("uvuvu"))))
    assert list(audit.unreadable) == ["data:1", "data:2", "data:3"]


def test_too_many_pixels_are_refused_in_every_kind(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_MAX_PIXELS", "62")
    for value in (FILE, opened(FILE), loaded(FILE), ONE, ONE[None], [ONE, ONE[:5]]):
        with pytest.raises(InputError, match="7 x 9 pixels are more than the limit"):
            model.predict(value)


def test_a_text_model_does_not_take_pictures_for_texts() -> None:
    from fewtune.models.predict import Wanted

    for value in (FILE, [FILE], Image.fromarray(ONE), ONE):
        assert read_asked((value, None), Asked(labelled=False, wanted=Wanted("text"))).modality == "image"
    assert read_asked(([b"some words"], None), Asked(labelled=False, wanted=Wanted("text"))).modality == "text"


NUMBERS = "bool uint8 int8 uint16 >u2 int16 int32 int64 uint64 float16 float32 float64 complex64 U3 O".split()  # noqa: SIM905


@st.composite
def arrays(draw: Any, most: int = 5) -> Array:
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 9]), max_size=most)))
    kind = np.dtype(draw(st.sampled_from(NUMBERS)))
    scale = draw(st.sampled_from([0, 1, 100, 255, 256, 4095, 40000, -1]))
    made = np.random.default_rng(draw(st.integers(0, 9))).random(shape) * scale
    with np.errstate(all="ignore"):
        found = made.astype(kind)
    if kind.kind == "f" and draw(st.booleans()) and found.size:
        found.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return found


def images() -> Any:
    sizes = st.tuples(st.integers(0, 6), st.integers(0, 6))
    info = st.sampled_from([{}, {"transparency": 3}, {"transparency": b"\x00"}, {"transparency": "x"}, {"exif": b"junk"}, {"exif": 5}])

    def made(mode: str, size: tuple[int, int], more: dict[str, Any]) -> Image.Image:
        image = Image.new(mode, size)
        image.info.update(more)
        return image

    return st.builds(made, st.sampled_from([*(m for m in MODES if m != "LAB"), "I;16L", "I;16B"]), sizes, info)


def contents() -> Any:
    cuts = st.builds(lambda cut: FILE[:cut], st.integers(0, len(FILE)))
    return st.one_of(st.binary(max_size=40), cuts, st.just(FILE))


def values() -> Any:
    odd = st.sampled_from(
        [None, 7, 1.5, {}, {"bytes": None, "path": None}, {"bytes": FILE}, [], [[1, 2], [3]], "gone.png", "", Path(), object()]
    )
    return st.one_of(arrays(), images(), contents(), contents().map(bytearray), contents().map(memoryview), odd)


@given(st.one_of(values(), st.lists(values(), max_size=4)))
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore")
def test_anything_gives_an_answer_a_row_or_one_sentence(model: Any, estimator: Any, inputs: Any) -> None:
    expected = len(inputs) if isinstance(inputs, list) and not all(isinstance(v, list | tuple | Path | str) for v in inputs) else None
    try:
        answers = model.predict(inputs)
        assert expected is None or len(answers) == expected
        assert all(a.label in ("red", "blue", "grey") for a in answers)
    except InputError as problem:
        assert "\n" not in str(problem) and len(str(problem)) < 900
    with contextlib.suppress(ValueError):  # scikit-learn says some of it in its own words
        assert expected is None or len(estimator.predict(inputs)) == expected


@given(st.lists(values(), min_size=2, max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore")
def test_anything_is_learned_from_or_refused_in_one_sentence(inputs: list[Any]) -> None:
    labels = ["u", "v", "u", "v"][: len(inputs)]
    try:
        made = read_examples((inputs, labels))
        assert len(made) == len(inputs) and len(made.row_digests) == len(inputs)
        inspect_examples(made)
    except InputError as problem:
        assert "\n" not in str(problem)
