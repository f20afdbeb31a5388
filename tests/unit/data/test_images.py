"""Decoding: every mode, orientation, size cap and broken file, against hand-made pictures and Pillow's own reader."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from fewtune.data.exif import orientation, without_exif
from fewtune.data.images import decode, header, kind_of, why_unreadable
from fewtune.errors import InputError


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 24, height: int = 16, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(content: bytes, **options: Any) -> np.ndarray[Any, Any]:
    image = decode(content, name="x", **options)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_is_what_pillow_reads(kind: str) -> None:
    content = encoded(picture(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(pixels(content), expected)
    assert kind_of(content) == kind == header(content).format
    assert (header(content).width, header(content).height) == (24, 16)


def test_an_mpo_is_read_as_its_first_picture() -> None:
    content = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    assert np.array_equal(pixels(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_as_pillow_does(turn: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(picture(), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(pixels(content), np.asarray(upright.convert("RGB")))
    assert decode(content, name="x").size == ((24, 16) if turn < 5 else (16, 24))


@pytest.mark.parametrize(
    "exif",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"MM\0*\0\0\0\x08", b"junk" * 99],
)
def test_broken_exif_means_upright_and_no_warning(exif: bytes) -> None:
    assert orientation(exif) == 1
    plain = encoded(picture(), "JPEG")
    assert np.array_equal(pixels(encoded(picture(), "JPEG", exif=exif)), pixels(plain)) if exif else True


def test_a_corrupt_exif_entry_that_pillow_warns_about_is_harmless() -> None:
    # orientation 6, then an entry whose data lies outside the block: Pillow's reader warns while it opens such a JPEG
    entries = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHLL", 0x010F, 2, 4000, 9000)
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + entries + b"\0\0\0\0"
    jpeg = encoded(picture(), "JPEG")
    block = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    content = jpeg[:2] + block + jpeg[20:]  # in place of the 18 bytes of JFIF, which would tell the density
    assert decode(content, name="x").size == (16, 24)


def test_a_large_value_in_16_bits_is_scaled_not_clipped() -> None:
    grey = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    expected = np.array([round(v / 257) for v in grey[0].tolist()])
    for kind in ("PNG", "TIFF"):
        got = pixels(encoded(Image.fromarray(grey), kind))
        assert np.abs(got[0, :, 0].astype(int) - expected).max() == 0 and (got[..., 0] == got[..., 2]).all()
    pgm = b"P5 5 1 65535\n" + grey.astype(">u2").tobytes()
    assert np.array_equal(pixels(pgm)[0, :, 0], expected)


def test_wide_integers_and_floats() -> None:
    wide = np.array([[-100, 0, 155]], dtype=np.int32)
    assert pixels(encoded(Image.fromarray(wide), "TIFF"))[0, :, 0].tolist() == [0, 100, 255]
    unit = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(unit), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    bytes_ = np.array([[0.0, 7.4, 255.0]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(bytes_), "TIFF"))[0, :, 0].tolist() == [0, 7, 255]
    odd = np.array([[-1.0, np.nan, 0.0, 1.0]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(odd), "TIFF"))[0, :, 0].tolist() == [0, 0, 128, 255]


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = [0, 128, 255]  # black, ever more opaque
    for content in (encoded(Image.fromarray(rgba)), encoded(Image.fromarray(rgba).convert("LA"))):
        assert pixels(content)[0, :, 1].tolist() == [255, 127, 0]


def test_transparent_palette_entries_and_colours() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    assert pixels(encoded(palette))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert pixels(encoded(palette, transparency=1))[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    assert pixels(encoded(palette, transparency=b"\x00\xff\xff"))[0].tolist() == [[255, 255, 255], [0, 255, 0], [0, 0, 255]]
    assert pixels(encoded(palette, "GIF", transparency=2))[0].tolist() == [[255, 0, 0], [0, 255, 0], [255, 255, 255]]
    colour = Image.new("RGB", (2, 1), (1, 2, 3))
    colour.putpixel((0, 0), (9, 9, 9))
    assert pixels(encoded(colour, transparency=(1, 2, 3)))[0].tolist() == [[9, 9, 9], [255, 255, 255]]
    grey = Image.new("L", (2, 1), 7)
    assert pixels(encoded(grey, transparency=7))[0].tolist() == [[255] * 3] * 2


def test_other_modes() -> None:
    assert pixels(encoded(Image.new("1", (2, 1), 1)))[0].tolist() == [[255] * 3] * 2
    assert pixels(encoded(Image.new("L", (2, 1), 9)))[0].tolist() == [[9] * 3] * 2
    cmyk = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG")
    assert np.abs(pixels(cmyk)[0, 0].astype(int) - [0, 255, 255]).max() <= 3
    assert pixels(encoded(Image.new("CMYK", (2, 1), (0, 0, 0, 255)), "TIFF"))[0, 0].tolist() == [0, 0, 0]
    assert pixels(encoded(Image.new("LAB", (2, 1), (255, 128, 128)), "TIFF")).shape == (1, 2, 3)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        got = pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})))
        assert got[0, 0].tolist() == [255, 0, 0]


def bomb_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000, 20_000, 60_000])  # below, within and above Pillow's own two limits
def test_a_bomb_is_refused_from_its_header_in_one_sentence(side: int) -> None:
    with pytest.raises(
        InputError, match=rf"^x.png cannot be read as an image: its {side} x {side} pixels are more than the limit of 50 mil"
    ):
        decode(bomb_png(side, side), name="x.png")
    gif = b"GIF89a" + struct.pack("<HH", side, side) + b"\0\0\0,\0\0\0\0" + struct.pack("<HH", side, side) + b"\0\x02\x02D\x01\0;"
    bmp = encoded(Image.new("1", (8, 8)), "BMP")
    for content in (gif, bmp[:18] + struct.pack("<ll", side, side) + bmp[26:], b"P4 %d %d\n" % (side, side)):
        with pytest.raises(InputError, match="more than the limit"):
            header(content)


def test_a_webp_canvas_is_counted_before_it_is_made() -> None:
    vp8x = b"VP8X" + struct.pack("<L", 10) + b"\x10\0\0\0" + (15_999).to_bytes(3, "little") * 2
    with pytest.raises(InputError, match="16000 x 16000 pixels are more"):
        header(b"RIFF" + struct.pack("<L", 22) + b"WEBP" + vp8x)


def test_the_limit_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (100, 100)))
    with pytest.raises(InputError, match=r"100 x 100 pixels are more than the limit of 0.009999 million"):
        decode(content, name="x", max_pixels=9_999)
    monkeypatch.setenv("FEWTUNE_MAX_PIXELS", "9e3")
    with pytest.raises(InputError, match=r"limit of 0.009 million"):
        decode(content, name="x")
    monkeypatch.setenv("FEWTUNE_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="FEWTUNE_MAX_PIXELS is 'many': expected a number"):
        decode(content, name="x")


def test_a_photo_of_40_megapixels_decodes_and_a_hint_makes_it_small() -> None:
    content = encoded(Image.new("L", (7300, 5480), 77), "JPEG")
    assert header(content).width * header(content).height > 40e6
    small = decode(content, name="x", size_hint=224)
    assert min(small.size) >= 2 * 224 and small.size == (913, 685)  # an eighth, rounded up
    assert decode(content, name="x").size == (7300, 5480)


@given(width=st.integers(16, 700), height=st.integers(16, 700), hint=st.integers(1, 200))
@settings(max_examples=25, deadline=None)
def test_a_hint_never_goes_below_twice_the_wanted_side(width: int, height: int, hint: int) -> None:
    content = encoded(Image.new("L", (width, height)), "JPEG")
    got = decode(content, name="x", size_hint=hint).size
    assert min(got) >= min(2 * hint, width, height)
    assert got[0] in {-(-width // s) for s in (1, 2, 4, 8)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "first bytes belong to no known format"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "AVIF is not supported; convert"),
        (b"\x89PNG\r\n\x1a\n", "x.jpg cannot be read as an image"),
        (b"\xff\xd8\xff", "x.jpg cannot be read as an image"),
    ],
)
def test_what_is_no_image_says_why(content: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        decode(content, name="x.jpg")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("x.jpg ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_files_are_refused(kind: str) -> None:
    content = encoded(picture(64, 64), kind)
    for kept in (len(content) // 2, len(content) - len(content) // 10):
        with pytest.raises(InputError, match=r"^x cannot be read as an image: "):
            decode(content[:kept], name="x")
        assert why_unreadable(content[:kept], deep=True) is not None
    assert why_unreadable(content, deep=True) is None is why_unreadable(content, deep=False)


def test_a_text_chunk_that_inflates_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * (80 << 20), zip=True)
    content = encoded(picture(), pnginfo=info)
    assert len(content) < 200_000
    with pytest.raises(InputError, match="cannot be read as an image"):
        decode(content, name="x")


def test_header_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(picture(), "JPEG", comment=b"c" * 60_000) + bytes(400_000))  # longer than what is read first
    assert header(path).format == "JPEG" and header(path).mode == "RGB"
    with pytest.raises(InputError, match=r"missing\.jpg cannot be read as an image: No such file or directory"):
        header(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="cannot be read"):
        header(tmp_path)


def test_hiding_exif_changes_one_letter() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    content = encoded(picture(), "JPEG", exif=exif)
    hidden, turn = without_exif(content)
    assert turn == 8 and sum(a != b for a, b in zip(content, hidden, strict=True)) == 1


_EXIF = Image.Exif()
_EXIF[0x0112] = 6
_SOURCES = [
    encoded(picture(), "JPEG", exif=_EXIF),
    encoded(picture(), "JPEG", progressive=True),
    encoded(picture().convert("CMYK"), "JPEG"),
    encoded(picture(), "PNG", exif=_EXIF),
    encoded(picture().convert("P"), "PNG", transparency=3),
    encoded(picture().convert("RGBA"), "PNG"),
    encoded(picture(), "GIF"),
    encoded(picture(), "TIFF", compression="tiff_lzw"),
    encoded(picture(), "WEBP"),
    encoded(picture(), "BMP"),
]


@given(
    source=st.sampled_from(_SOURCES),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0, 1) | st.none(),
    hint=st.sampled_from([None, 2]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_files_give_a_picture_or_one_sentence(
    source: bytes, changes: list[tuple[float, int]], cut: float | None, hint: int | None
) -> None:
    content = bytearray(source)
    for where, value in changes:
        content[int(where * len(content))] = value
    hostile = bytes(content if cut is None else content[: int(cut * len(content))])
    try:
        assert decode(hostile, name="x", size_hint=hint, max_pixels=1_000_000).mode == "RGB"
    except InputError as problem:
        assert str(problem).startswith("x cannot be read as an image: ") and "\n" not in str(problem)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_orientation_reads_any_bytes(content: bytes) -> None:
    for before in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= orientation(before + content) <= 8
    assert without_exif(b"\xff\xd8" + content)[1] in range(1, 9)
