"""compare --start: several starts of one network in one study, from the command line and from Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import fewtune as package
from fewtune.errors import InputError
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
FEW = package.CompareSettings(episodes=10, queries=4)
SMALL = ("--ways", 3, "--shots", 1, 2, "--queries", 4, "--episodes", 10, "--method", "centroid", "--quiet")


def test_starts_have_lines_a_figure_and_the_answers_they_have_alone(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    nets, out = tmp_path / "nets", tmp_path / "study"
    how = ("--backbone", "conv4,size=28", "--objective", "supervised", "--batch", 8, "--budget", "visits=80", "--checkpoints", 1, "--quiet")
    assert fewtune("pretrain", photos, *how, "--out", nets).code == 0
    starts = ("--start", "random", f"run:{nets}", "step:5")
    cache = ("--cache", tmp_path / "cache")
    ran = fewtune("compare", photos, "--backbone", "conv4,size=28", *starts, *SMALL, *cache, "--format", "json", "--out", out)
    assert ran.code == 0, ran.err
    lines = json.loads(ran.out)
    assert [x["backbone"] for x in lines[::2]] == ["conv4,size=28", "run:nets", "run:nets,step=5"] and len(lines) == 6
    tables = set((tmp_path / "cache").rglob("*.safetensors")) | set((tmp_path / "cache").rglob("*.npy"))
    assert len(tables) >= 3
    alone = fewtune("compare", photos, "--backbone", f"run:{nets},step=5", *SMALL, *cache, "--format", "json")
    assert json.loads(alone.out) == lines[4:]
    assert set((tmp_path / "cache").rglob("*.safetensors")) | set((tmp_path / "cache").rglob("*.npy")) == tables  # embedded once
    page = (out / "report.html").read_text()
    assert '<section id="starts">' in page and '<section id="start_pairs">' in page and "run:nets,step=5" in page
    settings = package.CompareSettings(episodes=10, queries=4, cache=tmp_path / "cache")
    found = package.compare(
        photos,
        backbone="conv4,size=28",
        starts=["random", f"run:{nets}", "step:5"],
        methods=["centroid"],
        ways=3,
        shots=(1, 2),
        settings=settings,
    )
    assert [row["mean"] for row in found.rows] == [x["mean"] for x in lines]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--backbone", "conv4", "--start", "pretrained", "random"), "begins at random"),
        (("--backbone", "conv4", "resnet12", "--start", "random"), "--start is for the starts of one --backbone, found 2"),
        (("--start", "run:nowhere"), "holds no saved model"),
        (("--backbone", "conv4", "--start", "step:5"), "but there is none"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(fewtune: Run, photos: Path, given: tuple[str, ...], sentence: str) -> None:
    ran = fewtune("compare", photos, *given, *SMALL)
    assert ran.code == 2 and sentence in ran.err and ran.err.strip().count("\n") == 0, ran


def test_starts_from_python_are_of_a_name(photos: Path) -> None:
    with pytest.raises(InputError, match="given by its name"):
        package.compare(photos, backbone=package.load_backbone("conv4"), starts=["random"], ways=3, shots=1, settings=FEW)
    with pytest.raises(InputError, match="a list of starts"):
        package.compare(photos, backbone="conv4", starts="random", ways=3, shots=1, settings=FEW)
