"""--rotations: four classes of each class of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
ASKED = ("--backbone", "pixels,size=8", "--method", "centroid", "--shots", "1", "--queries", "3", "--episodes", "10", "--format", "json")


def test_compare_has_four_times_the_classes(fewtune: Run, photos: Path) -> None:
    ran = fewtune("compare", photos, *ASKED, "--ways", "12", "--rotations")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)[0]["ways"] == 12
    plain = fewtune("compare", photos, *ASKED, "--ways", "12")
    assert plain.code == 2 and "12" in plain.err


def test_inspect_counts_turned_classes_and_finds_no_copies(fewtune: Run, photos: Path) -> None:
    ran = fewtune("inspect", photos, "--rotations", "--format", "json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert len(found["counts"]) == 12 and found["counts"]["circle@270"] == 8 and not found["clashes"]


def test_embeddings_are_not_turned(fewtune: Run, embeddings: Path) -> None:
    ran = fewtune("compare", embeddings, "--rotations", "--method", "centroid")
    assert ran.code == 2 and "expected images to turn" in ran.err
