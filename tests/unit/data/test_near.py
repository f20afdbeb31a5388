"""Near-duplicates: copies made on purpose are found, look-alikes are not; shingles against sets counted by hand."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from scipy.fft import dctn

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Encoded, Texts, Vectors
from fewtune.data.near import close_codes, near_images, near_pairs
from fewtune.data.near import texts as near_texts
from fewtune.data.near.texts import normal_form, shingles_of
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError


def encoded(images: list[Image.Image | bytes], form: str = "PNG") -> Examples:
    """Images in memory, encoded; bytes are taken as they are."""
    parts = [image if isinstance(image, bytes) else saved(image, form) for image in images]
    content = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return make_examples(Encoded(content, np.cumsum([0, *map(len, parts)]), [f"image {i}" for i in range(len(parts))]))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def scenes(count: int) -> list[Image.Image]:
    """Blurred noise in colour, each another, of about the contrast of a photo."""
    random = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        images.append(coarse.resize((160, 120), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2)))
    return images


COPIES = {
    "jpeg": lambda image: Image.open(io.BytesIO(saved(image, "JPEG", quality=60))).convert("RGB"),
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "double": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
}


def found(a: Examples, b: Examples, **options: Any) -> set[tuple[int, int]]:
    pairs = near_pairs(a, np.arange(len(a)), b, np.arange(len(b)), **options)
    assert (np.diff(pairs.distance) >= 0).all()
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_images_are_found_and_nothing_else(copy: str) -> None:
    images = scenes(40)
    assert found(encoded(images), encoded([COPIES[copy](image) for image in images])) == {(i, i) for i in range(40)}


@pytest.mark.kit
@pytest.mark.parametrize("name", ["caltech101", "clothing10"])
def test_copies_of_photographs_are_found(kit: Path, name: str) -> None:
    photos = read_examples(kit / "images" / f"{name}.npz")
    rows = np.random.default_rng(0).permutation(len(photos))[:40]
    images = [photos.items.fetch(int(row)) for row in rows]
    for copy, make in COPIES.items():
        copies = encoded([make(image) for image in images], "PNG")
        pairs = near_pairs(photos, rows, copies, np.arange(40))
        right = {int(row) for row, other in zip(pairs.first, pairs.second, strict=True) if rows[other] == row}
        assert len(right) >= 39, copy
        assert len(pairs) <= len(right) + 2, copy


@pytest.mark.kit
def test_photographs_of_one_set_that_lie_in_the_other_are_found(kit: Path) -> None:
    """The photos of PACS were taken from Caltech among others: of 3,590 x 6,298 pairs 47 are the same picture (all were looked at)."""
    pacs, caltech = (read_examples(kit / "images" / f"{name}.npz") for name in ("pacs", "caltech101"))
    photos = np.flatnonzero([name.startswith("photo/") for name in pacs.row_names])
    shared = ("elephant", "electric guitar", "Faces", "Faces easy", "anchor")
    rows = np.flatnonzero(np.isin(caltech.labels, [caltech.class_names.index(c) for c in shared]))
    pairs = near_pairs(pacs, photos, caltech, rows)
    found = {
        (pacs.class_names[pacs.labels[i]], caltech.class_names[caltech.labels[j]]) for i, j in zip(pairs.first, pairs.second, strict=True)
    }
    assert len(pairs) >= 40
    assert found <= {("elephant", "elephant"), ("guitar", "electric guitar"), ("person", "Faces"), ("person", "Faces easy")}


@pytest.mark.kit
def test_drawings_alike_are_no_duplicates(kit: Path) -> None:
    """By the hash alone dozens of drawings of different alphabets would be; the small pictures tell them apart."""
    drawings = read_examples(kit / "images" / "omniglot8.npz")
    split = drawings.class_split[drawings.labels]
    train, test = np.flatnonzero(split == 0), np.flatnonzero(split == 2)
    test, train = test[::2], train[::2]
    assert len(near_pairs(drawings, test, drawings, train, correlation=0.01)) > 10
    assert len(near_pairs(drawings, test, drawings, train)) == 0


def test_flat_images_are_copies_only_where_every_pixel_is() -> None:
    white, black = Image.new("RGB", (40, 30), "white"), Image.new("RGB", (40, 30), "black")
    dusty = white.copy()
    dusty.putpixel((3, 4), (250, 250, 250))
    large = Image.new("RGB", (80, 60), "white")
    pages = encoded([white, dusty, large, black, white])
    assert found(pages, pages) == {(0, 4)}
    assert found(pages, pages, distance=64, correlation=1e-3) == {(0, 4)}
    assert found(encoded([white]), encoded([saved(white, "BMP"), saved(dusty, "BMP")])) == {(0, 0)}


def test_unreadable_rows_are_passed_over() -> None:
    images = scenes(3)
    broken = saved(images[1], "PNG")[:200]
    assert found(encoded([images[0], b"", broken, images[2]]), encoded([broken, images[2], b"no image"])) == {(3, 1)}
    assert found(encoded([b""]), encoded([b""])) == set()


def test_within_one_collection_each_pair_once() -> None:
    one, two = scenes(2)
    whole = encoded([one, two, one, one])
    assert found(whole, whole) == {(0, 2), (0, 3), (2, 3)}
    pairs = near_pairs(whole, np.array([3]), whole, np.array([0, 1, 2, 3]))
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {(3, 0), (3, 2)}


def test_the_hash_is_the_cosine_transforms() -> None:
    grey = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    waves = dctn(grey.astype(np.float64))
    order = sorted(((i, j) for i, j in itertools.product(range(32), repeat=2) if i + j), key=lambda at: (at[0] + at[1], at[0]))[:64]
    low = np.array([waves[at] / 2 ** (0.5 * ((at[0] == 0) + (at[1] == 0))) for at in order])  # orthonormal but for a common factor
    expected = int(np.packbits(low > np.median(low)).view(np.uint64)[0])
    assert int(near_images.hash_of(grey)) == expected and bin(expected).count("1") == 32


def test_bits_are_counted_by_numpy_1_too(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(0).integers(0, 2**64, (5, 7), dtype=np.uint64)
    expected = [[bin(int(code)).count("1") for code in row] for row in codes]
    np.testing.assert_array_equal(close_codes.count_bits(codes), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(close_codes.count_bits(codes), expected)


def texts(*lines: str) -> Examples:
    return make_examples(Texts(lines))


def test_texts_in_other_spelling_are_the_same() -> None:
    said = texts("What's today's date?", "Straße", "\uff21larm  at\t5", "!!!", "", "😀", "ab")
    again = texts("what s today s DATE", "STRASSE", "alarm at 5.", "???", "  ", "😀!", "abc")
    pairs = near_pairs(said, np.arange(7), again, np.arange(7))
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {(0, 0), (1, 1), (2, 2), (5, 5)}
    assert (pairs.distance == 0).all()  # and texts of which nothing is left are like no other
    assert normal_form(" Ne\u0301e…  N\u00c9E ") == "née née"


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_no_pair_of_texts_is_missed(threshold: float) -> None:
    """Against every pair by Python's sets, on texts made from one another by dropping and swapping words."""
    random = np.random.default_rng(1)
    words = ["".join(random.choice(list("abcdefg"), random.integers(1, 7))) for _ in range(60)]
    lines = [" ".join(random.choice(words, random.integers(1, 40))) for _ in range(60)]
    for line in list(lines):
        parts = line.split()
        for _ in range(random.integers(0, 4)):
            parts[random.integers(len(parts))] = words[random.integers(60)]
        lines.append(" ".join(parts))

    def shingles(line: str) -> set[str]:
        padded = f" {line} "
        return {padded[i : i + 5] for i in range(max(1, len(padded) - 4))}

    sets = [shingles(line) for line in lines]
    expected = {
        (i, j): 1 - len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        for i, j in itertools.combinations(range(len(lines)), 2)
        if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])
    }
    whole = texts(*lines)
    pairs = near_pairs(whole, np.arange(len(lines)), whole, np.arange(len(lines)), jaccard=threshold)
    got = {(int(i), int(j)): float(d) for i, j, d in zip(pairs.first, pairs.second, pairs.distance, strict=True)}
    assert got == pytest.approx(expected, abs=1e-6) and len(got) > 10
    assert all(len(shingles_of(normal_form(line))) == len(s) for line, s in zip(lines, sets, strict=True))


def test_vectors_have_no_look_and_modalities_do_not_mix() -> None:
    vectors = make_examples(Vectors(np.zeros((3, 2), dtype=np.float32)))
    assert len(near_pairs(vectors, np.arange(3), vectors, np.arange(3))) == 0
    with pytest.raises(InputError, match="one modality"):
        near_pairs(vectors, np.arange(3), texts("a"), np.arange(1))
    empty = near_pairs(texts("a b c"), np.arange(0), texts("a b c"), np.arange(1))
    assert len(empty) == len(near_pairs(encoded(scenes(1)), np.arange(1), encoded(scenes(1)), np.arange(0))) == 0


def test_many_images_are_compared_by_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [*scenes(20), *scenes(20), Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "white")]
    one_by_one = found(encoded(images), encoded(images))
    assert len(one_by_one) == 20 * 4 + 4
    monkeypatch.setattr(close_codes, "FEW", 0)
    assert found(encoded(images), encoded(images)) == one_by_one


def test_a_collection_is_compared_with_itself_as_with_a_copy_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair once, whichever rows are given and in whichever order; in blocks of any size."""
    for whole in (encoded([*scenes(6), *scenes(6), Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "white")]), texts_twice()):
        rows = np.array([13, 2, 8, 12, 0, 6, 7])
        copy = near_pairs(whole, rows, replace(whole), rows)
        both = {(i, j) for i, j in zip(copy.first.tolist(), copy.second.tolist(), strict=True) if i != j}
        monkeypatch.setattr(near_images, "_ROWS", 3)
        monkeypatch.setattr(near_texts, "_CHUNK", 2)
        fetched: list[int] = []
        counting = make_examples(Counted(whole.items, fetched))
        pairs = near_pairs(counting, rows, counting, rows)
        once = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        assert once and once | {(j, i) for i, j in once} == both
        assert not once & {(j, i) for i, j in once}
        assert max(fetched.count(row) for row in fetched if row < 12) == 1
        monkeypatch.undo()


def texts_twice() -> Examples:
    said = [f"please book a table for {n} people in the corner" for n in ("two", "three", "four", "seventeen", "twenty", "ninety", "sixty")]
    return make_examples(Texts([*said, *(text.upper() for text in said)]))


@dataclass(frozen=True, eq=False)
class Counted:
    """Items that note what is fetched."""

    whole: Any
    fetched: list[int]

    @property
    def modality(self) -> Any:
        return self.whole.modality

    def __len__(self) -> int:
        return len(self.whole)

    def fetch(self, row: int, size_hint: int | None = None) -> Any:
        self.fetched.append(row)
        return self.whole.fetch(row, size_hint)

    def digest(self, row: int) -> bytes:
        return bytes(self.whole.digest(row))
