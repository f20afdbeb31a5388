"""Fixtures of the engine's laws."""

from __future__ import annotations

import pytest
from torch import Tensor

from fewtune.learning.ground import Ground
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks
from tests.laws.grounds import all_classes, double_ground, shared_head, some_episodes


@pytest.fixture(scope="session")
def ground() -> Ground:
    return double_ground()


@pytest.fixture(scope="session")
def tasks(ground: Ground) -> Tasks:
    return all_classes(ground)


@pytest.fixture(scope="session")
def episodes(tasks: Tasks) -> Episodes:
    return some_episodes(tasks)


@pytest.fixture
def weights(ground: Ground) -> dict[str, Tensor]:
    """The backbone's start and a shared head."""
    return {**ground.backbone.start(), **shared_head()}
