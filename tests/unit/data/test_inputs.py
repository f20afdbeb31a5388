"""What a model is asked to label: files and folders in order, links included."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fewtune.data.reading.folders import read_folder
from fewtune.data.reading.inputs import read_inputs
from fewtune.errors import InputError


def dot(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), 9).save(path)
    return path


def test_linked_folders_are_read_once_as_when_learning(tmp_path: Path) -> None:
    """The same files, whether a folder is learned from or labelled; a loop of links ends."""
    new = tmp_path / "new"
    for name in ("a/1.png", "a/10.png", "a/2.png", "b/1.png"):
        dot(new / name)
    dot(tmp_path / "store" / "3.png")
    dot(tmp_path / "store" / "deep" / "4.png")
    (new / "c").symlink_to(tmp_path / "store")
    (new / "a" / "loop").symlink_to(new)
    (tmp_path / "store" / "back").symlink_to(tmp_path / "store")
    made = read_inputs([new], [], "image")
    inner = ["a/1.png", "a/2.png", "a/10.png", "b/1.png", "c/3.png", "c/deep/4.png"]
    assert made.row_names == [str(new / name) for name in inner]
    assert set(read_folder(new, label="outer").row_names) == set(inner)
    again = "a link to a folder that was read already"
    assert [(s.name, s.reason) for s in made.skipped] == [(str(new / "a/loop"), again), (str(new / "c/back"), again)]


def test_a_link_to_a_folder_can_be_labelled_itself(tmp_path: Path) -> None:
    dot(tmp_path / "store" / "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    assert read_inputs([tmp_path / "link"], [], "image").row_names == [str(tmp_path / "link" / "1.png")]


def test_a_folder_with_nothing_to_label_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(InputError, match="holds 1 other file, and nothing that can be read here: expected images"):
        read_inputs([tmp_path], [], "image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no files \(a broken link or not a plain file\), and nothing"):
        read_inputs([tmp_path / "empty"], [], "image")


def test_an_input_column_of_typed_texts_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a typed text has no columns, so --input review .*names nothing: leave it out"):
        read_inputs([], ["good"], "text", "review")
    (tmp_path / "new.csv").write_text("review,other\nfine,x\n")
    assert read_inputs([tmp_path / "new.csv"], ["good"], "text", "review").row_names[1] == "good"  # a table is there too
    with pytest.raises(InputError, match="expected something to label"):
        read_inputs([], [], "text", "review")
