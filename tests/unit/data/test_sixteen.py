"""Pictures of 16 bits: right values in 8 bits, whatever part of the 16 they use, and a word about it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fewtune
from fewtune.data.audit import inspect_examples, remarks_on_bits
from fewtune.data.images import _PREFIX, bits_used, decode
from fewtune.data.reading.read import read_examples
from fewtune.data.sixteen import depth

Values = np.ndarray[Any, np.dtype[np.uint16]]
RNG = np.random.default_rng(0)


def png(values: Values) -> bytes:
    """A PNG of 16 bits by hand: grey [H, W], colour [H, W, 3], with alpha [H, W, 4]."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))

    height, width = values.shape[:2]
    kind = 0 if values.ndim == 2 else {3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    start = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: Values, *, order: str = "<", bits: int = 16, packed: bool = False, more: dict[int, int] | None = None) -> bytes:
    """A TIFF of one strip by hand, by the tags of TIFF 6.0; `packed` with Adobe's deflate, `more` are further tags of 16 bits."""
    height, width = values.shape[:2]
    bands = 1 if values.ndim == 2 else values.shape[2]
    strip = pack_12(values) if bits == 12 else values.astype(order + "u2").tobytes()
    strip = zlib.compress(strip) if packed else strip
    tags = {256: width, 257: height, 259: 8 if packed else 1, 262: 2 if bands > 1 else 1, 277: bands, 278: height, **(more or {})}
    count = len(tags) + 3
    after = 8 + 2 + 12 * count + 4
    entries = {tag: struct.pack(order + "HHLHH", tag, 3, 1, value, 0) for tag, value in tags.items()}
    entries[258] = struct.pack(order + "HHL", 258, 3, bands) + (
        struct.pack(order + "HH", bits, 0) if bands == 1 else struct.pack(order + "L", after)
    )
    entries[273] = struct.pack(order + "HHLL", 273, 4, 1, after + 2 * bands)
    entries[279] = struct.pack(order + "HHLL", 279, 4, 1, len(strip))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "LH", 8, count) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return head + struct.pack(order + f"{bands}H", *[bits] * bands) + strip


def pack_12(values: Values) -> bytes:
    """Two values in three bytes, the most significant bits first."""
    bits = "".join(f"{v:012b}" for v in values.ravel().tolist())
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def grey(content: bytes) -> list[int]:
    image = np.asarray(decode(content, name="x"))
    assert (image == image[..., :1]).all()
    found: list[int] = image[..., 0].ravel().tolist()
    return found


@pytest.mark.parametrize(
    ("top", "bits"),
    [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14), (16384, 16), (65535, 16)],
)
@pytest.mark.parametrize("write", [png, tiff])
def test_a_picture_is_scaled_by_the_smallest_usual_depth(write: Any, top: int, bits: int) -> None:
    """255 v / (2^bits - 1), rounded."""
    values = np.array([[0, 1, top // 3, top // 2, top]], dtype=np.uint16)
    assert depth(top) == bits
    assert grey(write(values)) == [int(v * 255 / (2**bits - 1) + 0.5) for v in values[0].tolist()]
    assert bits_used(write(values)) == bits


def test_twelve_bits_by_hand() -> None:
    values = np.array([[0, 16, 1365, 2048, 4095]], dtype=np.uint16)
    for content in (png(values), tiff(values), tiff(values, order=">"), tiff(values, packed=True)):
        assert grey(content) == [0, 1, 85, 128, 255]


def test_a_file_that_says_its_greatest_value_is_scaled_by_it() -> None:
    """A dark picture stays dark where the file tells what is bright; a declaration that its own values exceed is not believed."""
    dark = np.array([[0, 100, 200, 240]], dtype=np.uint16)
    bright = [0, 100, 200, 240]  # as 8 bits, where nothing is said
    by_12, by_10 = [0, 6, 12, 15], [0, 25, 50, 60]
    assert grey(tiff(dark)) == bright
    for tag in (281, 341):  # MaxSampleValue, SMaxSampleValue
        assert grey(tiff(dark, more={tag: 4095})) == by_12 and grey(tiff(dark, more={tag: 1023})) == by_10
        assert grey(tiff(dark, more={tag: 65535})) == bright == grey(tiff(dark, more={tag: 0}))
        assert grey(tiff(dark * 100, more={tag: 1023})) == [0, 39, 78, 93]  # 24,000 of 65,535
        assert bits_used(tiff(dark, more={tag: 4095})) is None
    assert grey(tiff(dark, bits=12)) == by_12 and bits_used(tiff(dark, bits=12)) is None
    pgm = b"P5 4 1 4095\n" + dark.astype(">u2").tobytes()
    assert grey(pgm) == by_12 and bits_used(pgm) is None


COLOUR = RNG.integers(0, 1000, (3, 4, 3)).astype(np.uint16)


@pytest.mark.parametrize(
    "write",
    [png, tiff, lambda v: tiff(v, order=">"), lambda v: tiff(v, packed=True), lambda v: tiff(v, order=">", packed=True)],
    ids=["png", "tiff", "tiff >", "packed tiff", "packed tiff >"],
)
def test_colour_of_16_bits_keeps_its_dark_values(write: Any) -> None:
    """Pillow alone gives the upper byte: 0 to 3 of 255 for 10 bits."""
    expected = (COLOUR.astype(int) * 255 / 1023 + 0.5).astype(np.uint8)
    assert np.array_equal(np.asarray(decode(write(COLOUR), name="x")), expected)
    assert bits_used(write(COLOUR)) == 10
    most = COLOUR * 16  # 14 bits
    assert np.array_equal(np.asarray(decode(write(most), name="x")), (most.astype(int) * 255 / 16383 + 0.5).astype(np.uint8))
    full = COLOUR * 64
    assert np.array_equal(np.asarray(decode(write(full), name="x")), full >> 8) and bits_used(write(full)) == 16


def test_alpha_of_16_bits_is_no_brightness() -> None:
    values = np.concatenate([COLOUR, np.full((3, 4, 1), 65535, np.uint16)], axis=2)
    values[0, 0, 3] = 0
    found = np.asarray(decode(png(values), name="x"))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(found[1:], (COLOUR[1:].astype(int) * 255 / 1023 + 0.5).astype(np.uint8)) and bits_used(png(values)) == 10


def test_pictures_that_are_not_of_16_bits_say_nothing() -> None:
    for mode in ("L", "RGB", "1", "P", "RGBA"):
        buffer = io.BytesIO()
        Image.new(mode, (2, 2)).save(buffer, "PNG")
        assert bits_used(buffer.getvalue()) is None
    buffer = io.BytesIO()
    Image.fromarray(np.array([[-1, 70000]], dtype=np.int32)).save(buffer, "TIFF")
    assert bits_used(buffer.getvalue()) is None


def test_of_a_file_of_8_bits_only_the_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)  # its file is longer than a header may be
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (tmp_path / "deep.png").write_bytes(png(COLOUR))
    deep = np.random.default_rng(0).integers(0, 900, (500, 500, 3)).astype(np.uint16)
    (tmp_path / "wide_deep.png").write_bytes(png(deep))
    assert (tmp_path / "wide.png").stat().st_size > _PREFIX and (tmp_path / "wide_deep.png").stat().st_size > _PREFIX
    read: list[Path] = []

    def noted(path: Path) -> bytes:
        read.append(path)
        return path.read_bytes()

    monkeypatch.setattr(fewtune.data.images, "read_regular", noted)
    assert [bits_used(tmp_path / f"{name}.png") for name in ("wide", "deep", "wide_deep")] == [None, 10, 10]
    assert read == [tmp_path / "deep.png", tmp_path / "wide_deep.png"]


def test_adapt_says_what_is_done_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    for name, top in (("a/1", 900), ("a/2", 800), ("b/1", 1000), ("b/2", 60000)):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.arange(6, dtype=np.uint16).reshape(2, 3) + top))
    said = fewtune.adapt(tmp_path / "photos", backbone="pixels,size=4", method="centroid").sentences
    expected = "3 images use 10 bits of 16 (values up to 1,023 of 65,535): they are brightened so that 10 bits fill the scale."
    assert said.count(expected) == 1
    assert remarks_on_bits(read_examples((np.zeros((4, 2, 2), dtype=np.uint8), ["a", "b"] * 2))) == ()
    assert remarks_on_bits(read_examples((["one", "two"], ["a", "b"]))) == ()


def test_inspect_says_what_is_done_with_them(tmp_path: Path) -> None:
    for name, top in (("a/1", 900), ("a/2", 800), ("b/1", 1000), ("b/2", 60000)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(np.arange(6, dtype=np.uint16).reshape(2, 3) + top))
    audit = inspect_examples(read_examples(tmp_path))
    assert audit.bits == {10: 3}
    assert audit.sentences() == [
        "3 images use 10 bits of 16 (values up to 1,023 of 65,535): they are brightened so that 10 bits fill the scale."
    ]
    (tmp_path / "b" / "2.png").write_bytes(png(np.full((2, 2), 3000, np.uint16)))
    audit = inspect_examples(read_examples(tmp_path))
    assert audit.bits == {10: 3, 12: 1}
    assert audit.sentences() == [
        "4 images use few of their 16 bits (3 use 10, 1 use 12): each is brightened by its own, so do not compare their brightness."
    ]
    assert inspect_examples(read_examples(tmp_path), deep=False).bits == {}
