"""A column that is named of data without columns is refused, and not passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.cli.options import DataFlags
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError
from fewtune.models.evaluate import read_labelled


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place, name in enumerate(("ant", "bee")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (8, 8), (90 * place + k, 0, 0)).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path / "photos"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.savez(tmp_path / "v.npz", x=np.eye(4), y=np.array(["a", "b"] * 2), groups=np.array(["p", "p", "q", "q"]))
    return tmp_path / "v.npz"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("words,kind,site\none,a,p\ntwo,b,q\nthree,a,p\nfour,b,q\n")
    return tmp_path / "t.csv"


@pytest.mark.parametrize("role", ["group", "input", "split"])
def test_a_folder_of_photos_has_none(photos: Path, role: str) -> None:
    with pytest.raises(InputError, match=f"photos has no columns.*--{role} site.*leave it out"):
        read_examples(photos, **{role: "site"})  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["label", "group", "input", "split"])
def test_arrays_are_known_by_their_own_names_alone(vectors: Path, role: str) -> None:
    with pytest.raises(InputError, match=rf"v has no columns, so --{role} site .*names nothing"):
        read_examples(vectors, **{role: "site"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no columns"):
        read_examples((np.eye(2), ["a", "b"]), **{role: "site"})  # type: ignore[arg-type]
    own = read_examples(vectors, input="x", label="y", group="groups")
    assert own.group_names == ("p", "q") and own.class_names == ("a", "b")


def test_encoded_images_have_none(tmp_path: Path) -> None:
    offsets, content = np.array([0, 1, 2]), np.zeros(2, dtype=np.uint8)
    np.savez(tmp_path / "k.npz", bytes=content, offsets=offsets, label=np.array([0, 1]), class_names=np.array(["a", "b"]))
    with pytest.raises(InputError, match="k has no columns, so --group site"):
        read_examples(tmp_path / "k.npz", group="site")


def test_a_saved_model_is_not_measured_by_groups_that_are_not_there(photos: Path, vectors: Path) -> None:
    for data in (photos, vectors, read_examples(vectors)):
        with pytest.raises(InputError, match="has no columns"):
            read_labelled(data, group="site")


def test_several_collections_share_the_names_that_some_have(photos: Path, vectors: Path, table: Path) -> None:
    flags = DataFlags(label=["kind"], input=["words"], group="site")
    target, other = flags.read_each([vectors, table])
    assert target.group_names == ("p", "q") and other.class_names == ("a", "b") and other.group_names == ("p", "q")
    assert flags.read_each([photos, table])[0].class_names == ("ant", "bee")
    with pytest.raises(InputError, match="photos has no columns"):
        DataFlags(group="site").read_each([photos, vectors])
    assert DataFlags(label=["inner"]).label == ["inner"]
    with pytest.raises(InputError, match="no label column 'kind'"):
        DataFlags(label=["kind"]).read_each([photos, photos])


def test_inputs_to_label_without_a_table_have_none(photos: Path, vectors: Path, table: Path) -> None:
    with pytest.raises(InputError, match="photos has no columns, so --input words"):
        read_inputs([photos], (), "image", "words")
    with pytest.raises(InputError, match=r"v\.npz has no columns"):
        read_inputs([vectors], (), "vector", "words")
    (table.parent / "one.txt").write_text("five")
    assert len(read_inputs([table, table.parent / "one.txt"], (), "text", "words")) == 5
