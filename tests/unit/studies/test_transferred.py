"""Runs whose networks have BatchNorm: when their statistics are estimated again."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.machine import Machine
from fewtune.studies.transferred.compare import TransferSettings, compare_runs
from fewtune.studies.transferred.solutions import Solution
from tests.tiny import drawn, images

AGAIN = "BatchNorm statistics were estimated again at every point, the ends too."


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with drawn(0):
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return Backbone.of(nn.Sequential(*layers), size=12, machine=Machine(device="cpu"))


@pytest.mark.parametrize("moved", ["0.weight", "1.running_mean"])
def test_one_run_whose_statistics_moved_is_settled_on_the_line_from_its_start(backbone: Backbone, moved: str) -> None:
    start = backbone.start()
    end = {n: t + 0.5 if n == moved else t for n, t in start.items()}
    examples = make_examples(Pixels(images(24)), np.arange(24) % 2, name="pictures", class_names=["a", "b"])
    run = Solution("run", backbone, end, start)
    found = compare_runs([run], examples, TransferSettings(rows=24))
    assert (AGAIN in found.details) is (moved != "0.weight")
    forced = compare_runs([run], examples, TransferSettings(rows=24, batchnorm=moved == "0.weight"))
    assert (AGAIN in forced.details) is (moved == "0.weight")
