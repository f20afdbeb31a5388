"""HEIC photos: as Pillow's own plugin reads them, upright, within the limit on pixels; without the library the line to type is said."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from fewtune.data.audit import inspect_examples
from fewtune.data.images import decode, header, kind_of, why_unreadable
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError


def smooth(width: int = 96, height: int = 64) -> Image.Image:
    """Bright above on the left, dark below on the right: its orientation can be seen."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([255 - 2 * x, 255 - 3 * y, x + y], axis=2).astype(np.uint8))


def heic(image: Image.Image, **options: Any) -> bytes:
    made = io.BytesIO()
    pillow_heif.from_pillow(image).save(made, quality=90, **options)
    return made.getvalue()


def test_pixels_are_those_of_the_picture() -> None:
    content = heic(smooth())
    image = decode(content, name="x", size_hint=16)
    assert image.mode == "RGB" and image.size == (96, 64)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(smooth()).astype(int)).mean() < 3
    assert kind_of(content) == "HEIC" and (header(content).width, header(content).height) == (96, 64)


@pytest.mark.parametrize("turn", range(1, 9))
def test_it_is_upright_once(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    jpeg = io.BytesIO()
    smooth().save(jpeg, "JPEG", quality=95, exif=exif.tobytes())
    one, two = decode(heic(smooth(), exif=exif.tobytes()), name="x"), decode(jpeg.getvalue(), name="x")
    assert one.size == two.size
    assert np.abs(np.asarray(one).astype(int) - np.asarray(two).astype(int)).mean() < 4


def test_grey_alpha_and_several_pictures(tmp_path: Path) -> None:
    grey = decode(heic(smooth().convert("L")), name="x")
    assert grey.mode == "RGB" and np.ptp(np.asarray(grey), axis=2).max() <= 2
    clear = smooth().convert("RGBA")
    clear.putalpha(255)
    assert np.abs(np.asarray(decode(heic(clear), name="x")).astype(int) - np.asarray(smooth()).astype(int)).mean() < 4
    several = pillow_heif.from_pillow(smooth())
    several.add_from_pillow(Image.new("RGB", (40, 40)))
    several.save(tmp_path / "several.heic", quality=90)
    assert decode((tmp_path / "several.heic").read_bytes(), name="x").size == (96, 64)


def test_a_folder_a_table_and_the_audit_read_it(tmp_path: Path) -> None:
    for name, colour in (("a", 40), ("b", 200)):
        for i in range(2):
            path = tmp_path / "photos" / name / f"{i}.{'HEIC' if i else 'heif'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(heic(Image.new("RGB", (64, 48 + i), (colour, colour, colour))))
    made = read_examples(tmp_path / "photos")
    assert len(made) == 4 and not made.skipped and made.items.fetch(0).size == (64, 48)
    assert not inspect_examples(made, deep=True).unreadable
    assert len(read_inputs([tmp_path / "photos"], [], "image")) == 4


def test_too_many_pixels_and_damaged_files_are_refused() -> None:
    content = heic(smooth())
    with pytest.raises(InputError, match="its 96 x 64 pixels are more than the limit"):
        decode(content, name="x", max_pixels=96 * 64 - 1)
    for kept in (20, len(content) // 2, len(content) - len(content) // 10):
        with pytest.raises(InputError, match=r"^x cannot be read as an image: "):
            decode(content[:kept], name="x")
        assert why_unreadable(content[:kept], deep=True) is not None


def test_changed_bytes_are_read_or_refused() -> None:
    content, random = heic(smooth(32, 24)), np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(content)
        for place in random.integers(0, len(content), size=3):
            changed[place] = random.integers(0, 256)
        try:
            assert decode(bytes(changed), name="x", max_pixels=1_000_000).mode == "RGB"
        except InputError as problem:
            assert "\n" not in str(problem)


def test_without_the_library_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(smooth())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        InputError, match=r"^1\.heic cannot be read as an image: HEIC photos need pillow-heif: pip install 'fewtune\[heic\]'"
    ):
        decode(content, name="1.heic")
    with pytest.raises(InputError, match=r"pip install 'fewtune\[heic\]'"):
        header(content)
