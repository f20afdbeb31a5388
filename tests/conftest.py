"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.shapes import check_shapes, seen

check_shapes("fewtune.tasks", "fewtune.parts", "fewtune.learning")  # before anything of fewtune is imported

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test ever asks the network
os.environ.setdefault("FEWTUNE_QUIET", "1")  # a slow machine must not add lines about waiting


def pytest_runtest_setup() -> None:
    """The first calls of each test have their shapes checked."""
    seen.clear()


@pytest.fixture(scope="session")
def kit() -> Path:
    """The folder of real data and weights for development; tests that need it skip where it is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "kit"
    folder = Path(os.environ.get("FEWTUNE_KIT", default))
    if not (folder / "images").is_dir():
        pytest.skip("the benchmark kit is not here (set FEWTUNE_KIT to its folder)")
    return folder
