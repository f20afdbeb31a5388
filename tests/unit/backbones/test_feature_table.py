"""The feature table: equal to embedding, whole or absent, resumed after a kill, rebuilt when it was changed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features import table_file
from fewtune.backbones.features.feature_table import default_folder, feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Files, Modality, Pixels, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.machine import Machine
from tests.tiny import image_space, images, text_space, vector_space


@dataclass(frozen=True, eq=False)
class Counted:
    """Pictures that count how often they are looked at; some cannot be read."""

    pictures: np.ndarray[Any, np.dtype[np.uint8]]
    seen: list[int] = field(default_factory=list)
    bad: frozenset[int] = frozenset()
    stop_at: int | None = None
    modality: Modality = "image"

    def __len__(self) -> int:
        return len(self.pictures)

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:  # noqa: ARG002
        if row == self.stop_at:
            raise KeyboardInterrupt
        if row in self.bad:
            raise InputError(f"picture {row} is torn")
        self.seen.append(row)
        return Image.fromarray(self.pictures[row])

    def digest(self, row: int) -> bytes:
        return bytes(self.pictures[row, 0, :4].tobytes())


def examples(count: int = 20, **options: Any) -> Examples:
    return make_examples(Counted(images(count, height=8, width=8), **options), name="counted")


def seen(source: Examples) -> list[int]:
    assert isinstance(source.items, Counted)
    return source.items.seen


@pytest.fixture
def pixels() -> Backbone:
    return load_backbone("pixels,size=8", machine=Machine(device="cpu", chunk=4))


def direct(backbone: Backbone, source: Examples) -> torch.Tensor:
    return backbone.embed(backbone.start(), RowSpace([source]), np.arange(len(source)))


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("memory", [True, False])
def test_equals_embedding_and_is_read_back(pixels: Backbone, tmp_path: Path, memory: bool) -> None:
    source = examples(bad=frozenset({3, 9}))
    good = [i for i in range(20) if i not in (3, 9)]
    first = feature_table(pixels, RowSpace([source]), folder=tmp_path, memory=memory, quiet=True)
    assert first.features.dtype == torch.float32 and first.features.shape == (20, 192)
    assert torch.equal(first.features[good], direct(pixels, source.take(good)))
    assert bool(first.features[[3, 9]].isnan().all())
    assert first.bad == {3: "picture 3 is torn", 9: "picture 9 is torn"}
    seen(source).clear()
    second = feature_table(pixels, RowSpace([source]), folder=tmp_path, memory=memory, quiet=True)
    assert torch.equal(first.features.nan_to_num(), second.features.nan_to_num()) and second.bad == first.bad
    assert len(seen(source)) == (18 if memory else 0)
    assert len(files(tmp_path)) == (0 if memory else 1)


def test_sources_are_kept_apart_and_joined(pixels: Backbone, tmp_path: Path) -> None:
    one, two = examples(5, bad=frozenset({1})), make_examples(Counted(images(7, seed=1, height=8, width=8), bad=frozenset({2})), name="two")
    feature_table(pixels, RowSpace([one]), folder=tmp_path, quiet=True)
    seen(one).clear()
    both = feature_table(pixels, RowSpace([one, two]), folder=tmp_path, quiet=True)
    assert seen(one) == [] and len(files(tmp_path)) == 2
    assert both.bad == {1: "picture 1 is torn", 7: "picture 2 is torn"}
    assert torch.equal(both.features[5:7], direct(pixels, two.take([0, 1])))


def test_a_plain_npy_file(pixels: Backbone, tmp_path: Path) -> None:
    found = feature_table(pixels, RowSpace([examples()]), folder=tmp_path, quiet=True)
    (path,) = tmp_path.glob("*.npy")
    np.testing.assert_array_equal(np.load(path), found.features.numpy())
    found.features[:] = 0  # private to this process
    assert np.load(path).any()


def test_nothing_at_all(pixels: Backbone, tmp_path: Path) -> None:
    for memory in (True, False, False):
        assert feature_table(pixels, RowSpace([examples(0)]), folder=tmp_path, memory=memory, quiet=True).features.shape == (0, 192)


@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "empty", "text", "note"])
def test_changed_files_are_embedded_again(pixels: Backbone, tmp_path: Path, harm: str) -> None:
    source = examples()
    feature_table(pixels, RowSpace([source]), folder=tmp_path, quiet=True)
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "cut": whole[:-100],
            "grow": whole + b"more",
            "empty": b"",
            "text": b"hello",
            "note": whole.replace(b'"checksum"', b'"chequesum"'),
        }[harm]
    )
    seen(source).clear()
    again = feature_table(pixels, RowSpace([source]), folder=tmp_path, quiet=True)
    assert len(seen(source)) == 20 and torch.equal(again.features, direct(pixels, source))
    assert path.read_bytes() == whole


def test_an_interrupted_table_goes_on_where_it_stopped(pixels: Backbone, tmp_path: Path) -> None:
    stopped = examples(bad=frozenset({2}), stop_at=14)
    with pytest.raises(KeyboardInterrupt):
        feature_table(pixels, RowSpace([stopped]), folder=tmp_path, quiet=True)
    assert list(tmp_path.glob("*.npy")) == []
    whole = examples(bad=frozenset({2}))
    found = feature_table(pixels, RowSpace([whole]), folder=tmp_path, quiet=True)
    assert min(seen(whole)) == 12  # three chunks of four were durable
    assert found.bad == {2: "picture 2 is torn"}
    assert torch.equal(found.features[3:], direct(pixels, whole.take(range(3, 20))))
    assert [f for f in files(tmp_path) if not f.endswith(".npy")] == []


def test_a_harmed_beginning_is_not_gone_on_with(pixels: Backbone, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        feature_table(pixels, RowSpace([examples(stop_at=14)]), folder=tmp_path, quiet=True)
    (part,) = tmp_path.glob(".*.part")
    content = bytearray(part.read_bytes())
    content[200] ^= 1
    part.write_bytes(bytes(content))
    whole = examples()
    found = feature_table(pixels, RowSpace([whole]), folder=tmp_path, quiet=True)
    assert len(seen(whole)) == 20 and torch.equal(found.features, direct(pixels, whole))


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
import fewtune.backbones.features.feature_table as table
from fewtune.backbones.load import load_backbone
from fewtune.backbones.passes import Passes
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.machine import Machine
table._COMMIT = 0.0
pictures = np.load(sys.argv[1])
backbone = load_backbone("pixels,size=8", machine=Machine(device="cpu", chunk=4, workers=1))
whole = Passes.forward
def slow(self, *given, **named):
    time.sleep(float(sys.argv[3]))
    print("chunk", flush=True)
    return whole(self, *given, **named)
Passes.forward = slow
found = table.feature_table(backbone, RowSpace([make_examples(Pixels(pictures), name="p")]), folder=Path(sys.argv[2]), quiet=True)
print("done", float(found.features.double().sum()), flush=True)
"""


def started(tmp_path: Path, pause: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "pictures.npy"), str(tmp_path / "cache"), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_killed_in_the_middle(tmp_path: Path, how: signal.Signals) -> None:
    pictures = images(200, height=8, width=8)
    np.save(tmp_path / "pictures.npy", pictures)
    process = started(tmp_path, 0.02)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(how)
    process.communicate()
    assert process.returncode == -how and list((tmp_path / "cache").glob("*.npy")) == []
    again = started(tmp_path, 0.0)
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and 10 < said.count("chunk") <= 33  # 50 in all, of which at least 17 were durable
    expected = load_backbone("pixels,size=8")
    whole = expected.embed(expected.start(), RowSpace([make_examples(Pixels(pictures), name="p")]), np.arange(200))
    assert float(said.split()[-1]) == float(whole.double().sum())


@pytest.mark.slow
def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", images(40, height=8, width=8))
    both = [started(tmp_path, 0.05) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert sum(text.count("chunk") for text in said) == 10
    assert said[0].split()[-1] == said[1].split()[-1] and len(files(tmp_path / "cache")) == 1


def test_two_threads_do_the_work_once(pixels: Backbone, tmp_path: Path) -> None:
    source = examples(40)
    threads = [
        threading.Thread(target=feature_table, args=(pixels, RowSpace([source])), kwargs={"folder": tmp_path, "quiet": True})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen(source)) == 40 and len(files(tmp_path)) == 1


def test_a_full_disk_is_one_sentence_and_keeps_what_is_done(pixels: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = table_file.TableFile.append

    def full(self: table_file.TableFile, features: Any, bad: dict[int, str]) -> None:
        if self.done >= 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, features, bad)

    with monkeypatch.context() as patched:
        patched.setattr(table_file.TableFile, "append", full)
        with pytest.raises(InputError, match=r"not enough space in .*FEWTUNE_CACHE"):
            feature_table(pixels, RowSpace([examples()]), folder=tmp_path, quiet=True)
    source = examples()
    feature_table(pixels, RowSpace([source]), folder=tmp_path, quiet=True)
    assert min(seen(source)) == 8
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    other = make_examples(Counted(images(9, seed=5, height=8, width=8)), name="other")
    with pytest.raises(InputError, match="not enough space"):
        feature_table(pixels, RowSpace([other]), folder=tmp_path, quiet=True)
    assert seen(other) == []


def test_a_folder_that_cannot_be_written(pixels: Backbone, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .*FEWTUNE_CACHE"):
        feature_table(pixels, RowSpace([examples()]), folder=tmp_path / "file", quiet=True)


def test_the_key_knows_content_weights_preprocessing_and_precision(tmp_path: Path) -> None:
    space = image_space()
    names = ["timm:resnet10t,pretrained=false,size=32", "timm:resnet10t,pretrained=false,size=32,mean=0.4"]
    for name in names:
        feature_table(load_backbone(name), space, folder=tmp_path, quiet=True)
    half = load_backbone(names[0], machine=Machine(device="cpu", dtype="bfloat16"))
    feature_table(half, space, folder=tmp_path, quiet=True)
    feature_table(load_backbone(names[0], machine=Machine(device="cpu", chunk=2, workers=3)), space, folder=tmp_path, quiet=True)
    feature_table(load_backbone(names[0]), image_space(seed=1), folder=tmp_path, quiet=True)
    assert len(files(tmp_path)) == 4


def test_features_that_are_no_numbers_are_bad_rows(tmp_path: Path) -> None:
    backbone = load_backbone("timm:resnet10t,pretrained=false,size=32")
    bias = backbone.start()["layer4.0.bn2.bias"]
    bias.fill_(float("inf"))
    found = feature_table(backbone, image_space(3), folder=tmp_path, quiet=True)
    assert found.bad == dict.fromkeys(range(3), "its features are not finite numbers")


def test_embeddings_are_their_own_table(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    vectors[2, 1], vectors[5, 0] = np.nan, np.inf
    backbone = load_backbone("precomputed")
    source = make_examples(Vectors(vectors), name="v")
    found = feature_table(backbone, RowSpace([source]), folder=tmp_path, quiet=True)
    assert np.shares_memory(found.features.numpy(), vectors) and files(tmp_path) == []
    assert set(found.bad) == {2, 5}
    vectors.setflags(write=False)
    feature_table(backbone, RowSpace([source]), quiet=True)
    part = feature_table(backbone, RowSpace([source.take([4, 0]), source.take([1])]), quiet=True)
    np.testing.assert_array_equal(part.features.numpy(), vectors[[4, 0, 1]])
    with pytest.raises(InputError, match="one width"):
        feature_table(backbone, RowSpace([source, vector_space(2, 3).sources[0]]), quiet=True)


def test_another_modality_is_refused_in_a_sentence(pixels: Backbone) -> None:
    with pytest.raises(InputError, match="takes images, but sentences holds texts"):
        feature_table(pixels, text_space(), quiet=True)


def test_a_file_that_vanishes_is_a_bad_row(pixels: Backbone, tmp_path: Path) -> None:
    for i, picture in enumerate(images(3)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    source = make_examples(Files([tmp_path / f"{i}.png" for i in range(3)]), name="files")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    found = feature_table(pixels, RowSpace([source]), memory=True, quiet=True)
    assert list(found.bad) == [1] and "1.png" in found.bad[1]
    (tmp_path / "1.png").unlink()
    assert "1.png" in feature_table(pixels, RowSpace([source]), memory=True, quiet=True).bad[1]


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEWTUNE_CACHE", raising=False)
    assert default_folder() == Path.home() / ".cache" / "fewtune" / "features"
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"


def test_commits_are_seconds_apart(pixels: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    commit = table_file.TableFile.commit
    monkeypatch.setattr(table_file.TableFile, "commit", lambda self: (commits.append(self.done), commit(self)))
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr("fewtune.backbones.features.feature_table.time.monotonic", lambda: float(next(clock)))
    feature_table(pixels, RowSpace([examples(80)]), folder=tmp_path, quiet=True)
    assert 1 <= len(commits) <= 5
