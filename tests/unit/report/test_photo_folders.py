"""Photos sorted into folders and with labels drawn on: nothing is replaced, nothing leaves the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Files
from fewtune.errors import InputError
from fewtune.models.predict import Prediction
from fewtune.report.drawn_label import LEAST_WIDTH, labelled
from fewtune.report.photo_folders import annotate_photos, check_folder, folders_of, sort_photos, words_of

NAMES = ("cat", "../dog", "Cat")


def photo(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (shade, 0, 0)).save(path)
    return path


def answer(label: str | None, *, unknown: bool = False, read: bool = True) -> Prediction:
    scores = dict.fromkeys(NAMES, 0.1) | {"cat": 0.8} if read else {}
    return Prediction("x", label, 0.8 if read else 0.0, scores, "" if read else "broken", unknown)


def given(paths: list[Path]) -> Examples:
    return make_examples(Files(paths), row_names=[str(p) for p in paths])


def tree(folder: Path) -> dict[str, int]:
    """Every file, with the red of its first pixel."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): int(np.asarray(Image.open(p))[0, 0, 0]) for p in files}


def sort(folder: Path, paths: list[Path], answers: list[Prediction], **options: Any) -> list[str]:
    return sort_photos(folder, given(paths), answers, NAMES, **{"links": False, **options})


def test_photos_go_into_the_folders_of_their_labels(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "in" / f"{i}.png", i) for i in range(6)]
    answers = [answer("cat"), answer("../dog"), answer("Cat"), answer(None), answer(None, unknown=True), answer(None, read=False)]
    said = sort(tmp_path / "out", paths, answers)
    expected = {"cat/0.png": 0, "__dog/1.png": 1, "Cat-2/2.png": 2, "no label/3.png": 3, "unknown/4.png": 4}
    assert tree(tmp_path / "out") == expected
    assert said[0].startswith(f"5 photos are now in {tmp_path / 'out'}: Cat-2 1, __dog 1, cat 1")
    assert sort(tmp_path / "out", paths, answers)[1] == "5 photos were there already." and tree(tmp_path / "out") == expected
    assert all(path.exists() for path in paths)


def test_nothing_is_replaced_and_no_photo_is_lost(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "in" / str(i) / "a.png", shade) for i, shade in enumerate((7, 7, 9))]
    photo(tmp_path / "out" / "cat" / "a.png", 1)
    (tmp_path / "out" / "cat" / "a-2.png").symlink_to("/nowhere")
    expected = {"cat/a.png": 1, "cat/a-3.png": 7, "cat/a-4.png": 7, "cat/a-5.png": 9}
    for _ in range(2):  # the same again
        sort(tmp_path / "out", paths, [answer("cat")] * 3)
        assert tree(tmp_path / "out") == expected and (tmp_path / "out" / "cat" / "a-2.png").is_symlink()


def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "in" / "a.png", 3)
    monkeypatch.chdir(tmp_path)
    for new in (1, 0):
        assert sort(Path("out"), [Path("in/a.png")], [answer("cat")], links=True)[0].startswith(f"{new} link")
    made = tmp_path / "out" / "cat" / "a.png"
    assert made.is_symlink() and made.readlink() == tmp_path / "in" / "a.png" and tree(tmp_path / "out") == {"cat/a.png": 3}


def test_folders_that_cannot_be_used_are_refused_before_any_work(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "cat" / "a.png", 1)
    inside = tuple(folders_of(NAMES).values())
    (tmp_path / "file").write_text("x")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to(tmp_path / "in")
    (tmp_path / "other").symlink_to(tmp_path / "in")
    for name, said in (
        ("file", "is not a folder"),
        ("file/deeper", "is a file"),
        ("linked", "is a link or not a folder"),
        ("in", "is in a folder that is read"),
        ("in/sorted", "is in a folder that is read"),
        ("other/sorted", "is in a folder that is read"),
    ):
        with pytest.raises(InputError, match=f"{said}.*--sort-into"):
            check_folder(tmp_path / name, [tmp_path / "in"], inside, flag="--sort-into")
    with pytest.raises(InputError, match="is in a folder that is read"):  # the folder of a class is one that is read
        check_folder(tmp_path / "in", [tmp_path / "in" / "cat"], inside, flag="--sort-into")
    check_folder(tmp_path / "new" / "deep", [tmp_path / "in"], inside, flag="--sort-into")
    assert not (tmp_path / "new").exists()


def test_labels_are_drawn_below_the_photo(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "in" / name, 200) for name in ("a.png", "b.jpg", "c.gif", "d/a.png")]
    said = annotate_photos(tmp_path / "out", given(paths), [answer("cat"), answer(None), answer("Cat"), answer(None, read=False)])
    assert said == [f"3 photos with labels drawn on are now in {tmp_path / 'out'}."]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.jpg", "c.gif.png"]  # noqa: PTH208
    made = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert made.shape[1] == 240 and made.shape[0] > 160  # eight times as large, and a strip
    assert (made[:160, :, 0] > 150).all() and made[160:].max() == 255 and (made[160:] == 0).any()
    assert annotate_photos(tmp_path / "out", given(paths[:1]), [answer("cat")])[1] == "1 photo was there already."


def test_words_and_long_labels() -> None:
    assert words_of(answer("Cat")) == ("Cat", "80%")
    assert words_of(answer(None)) == ("no label", "(cat 80%)") and words_of(answer(None, unknown=True))[0] == "unknown"
    plain = Image.new("RGB", (400, 300))
    long, longer = (np.asarray(labelled(plain, "w" * count, "80%")) for count in (300, 301))
    assert (long == longer).all() and long.shape[1] == 400
    assert np.asarray(labelled(Image.new("RGB", (1, 1)), "\x1b\n日本", "")).shape[1] == 240


def test_a_strip_is_not_made_billions_of_pixels_large() -> None:
    made = labelled(Image.new("RGB", (1, 100_000)), "wren", "90%")
    assert made.width == LEAST_WIDTH and 100_000 < made.height < 100_100
    assert labelled(Image.new("RGB", (10, 10)), "wren", "90%").width == LEAST_WIDTH
