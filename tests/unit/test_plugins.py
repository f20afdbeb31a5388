"""Parts of other packages, found by their entry points: asked for by name, imported only then, one sentence where they are broken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import fewtune
from fewtune.errors import InputError
from fewtune.parts.heads import Ridge
from fewtune.recipes.language import WORDS, read_method, variants
from fewtune.spec import text

CODE = '''
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch

from fewtune.backbones.providers.names import read_name
from fewtune.backbones.providers.without_model import load_pixels
from fewtune.learning.method import Method
from fewtune.parts.heads.head import nothing_own, one_hot


@final
@dataclass(frozen=True, kw_only=True)
class MeanHead:
    """Minus the squared distance to each class mean, times `scale`."""

    scale: float = 1.0
    name: str = "head"
    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True
    own: ClassVar[tuple[str, ...]] = ()

    def declare(self, width, classes=()):
        return {}

    begin = nothing_own

    def fit(self, support, episodes, class_vectors, parameters):
        hot = one_hot(episodes, support)
        return {"means": hot.mT @ support / hot.sum(1).clamp(min=1)[..., None]}

    def score(self, state, query, parameters):
        return -self.scale * (query[:, :, None] - state["means"][:, None]).square().sum(-1)


def mean_of(scale: float = 2.0) -> Method:
    return Method(learner=MeanHead(scale=scale))


def ridge() -> Method:
    raise AssertionError("a name of fewtune's own must win")


def load(name, weights, machine):
    return load_pixels(read_name("pixels,size=" + name.options.get("size", "8")), machine)


def load_nothing(name, weights, machine):
    return None
'''
POINTS = """\
[fewtune.heads]
MeanHead = made_parts:MeanHead
other_name = made_parts:MeanHead
[fewtune.methods]
mean_of = made_parts:mean_of
ridge = made_parts:ridge
broken = broken_parts:anything
absent = made_parts:absent
[fewtune.backbones]
mine = made_parts:load
nothing = made_parts:load_nothing
"""


def distribution(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    distribution(folder, "made-parts", POINTS)
    (folder / "made_parts.py").write_text(CODE)
    (folder / "broken_parts.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(str(folder))
    for module in ("made_parts", "broken_parts"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return folder


def rows() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    y = np.repeat(np.arange(3), 12)
    return (np.eye(3, 5)[y] + 0.4 * np.random.default_rng(0).normal(size=(36, 5))).astype(np.float32), y


@pytest.mark.usefixtures("installed")
def test_a_head_and_a_method_of_another_package_are_words() -> None:
    assert "MeanHead" in WORDS and "mean_of" in list(WORDS) and "made_parts" not in sys.modules
    method = read_method("mean_of(scale=3)")
    assert read_method(text(method)) == method and text(method.head).startswith("MeanHead(scale=3.0")
    assert text(read_method("MeanHead")) == "Method(edits=(), phases=(), learner=MeanHead(scale=1.0, name='head'))"
    assert variants("mean_of", ()) == {"": read_method("mean_of")}
    found = fewtune.compare(
        rows(), methods=["centroid(metric='euclidean')", "mean_of"], ways=3, shots=3,
        settings=fewtune.CompareSettings(episodes=20, queries=5),
    )  # fmt: skip
    centroid, mean = found.rows
    assert mean["mean"] == centroid["mean"]


@pytest.mark.usefixtures("installed")
def test_a_model_with_another_package_s_head_is_saved_and_loaded(tmp_path: Path) -> None:
    x, y = rows()
    adapted = fewtune.adapt((x, y), method="MeanHead(scale=2)")
    adapted.save(tmp_path / "run")
    assert fewtune.load(tmp_path / "run").predict(x[:4]) == adapted.predict(x[:4])


@pytest.mark.usefixtures("installed")
def test_names_of_our_own_win() -> None:
    assert isinstance(read_method("ridge").head, Ridge)


@pytest.mark.usefixtures("installed")
def test_a_broken_part_says_so_only_when_it_is_asked_for(tmp_path: Path) -> None:
    assert read_method("centroid") and "broken" in list(WORDS)
    with pytest.raises(InputError, match=r"broken of the package made-parts cannot be imported \(RuntimeError: two lines\): repair or"):
        read_method("broken")
    with pytest.raises(InputError, match="absent of the package made-parts cannot be imported"):
        read_method("absent")
    with pytest.raises(InputError, match="other_name is registered under another name than its class, MeanHead"):
        read_method("other_name")
    with pytest.raises(InputError, match="did you mean mean_of"):
        read_method("mean_off")
    distribution(tmp_path / "site", "second", "[fewtune.methods]\nmean_of = made_parts:mean_of\n")
    with pytest.raises(InputError, match=r"mean_of is registered by several packages \(made-parts, second\)"):
        read_method("mean_of")


@pytest.mark.usefixtures("installed")
def test_a_backbone_of_another_package() -> None:
    made = fewtune.load_backbone("mine:thing,size=6")
    assert made.name == "mine:thing,size=6" and made.width == fewtune.load_backbone("pixels,size=6").width
    assert fewtune.load_backbone("mine").name == "mine"
    with pytest.raises(InputError, match=r"expected a fewtune\.Backbone from its provider, found a NoneType"):
        fewtune.load_backbone("nothing:x")
    with pytest.raises(InputError, match="did you mean mine:x"):
        fewtune.load_backbone("minee:x")


def test_without_other_packages_nothing_changes() -> None:
    assert "MeanHead" not in WORDS
    with pytest.raises(InputError, match="unknown name 'MeanHead'"):
        read_method("MeanHead")
    with pytest.raises(InputError, match="unknown backbone 'mine:thing'"):
        fewtune.load_backbone("mine:thing")
