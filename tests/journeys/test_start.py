"""The first minutes: which models there are, what a command needs, and mistakes that are told at once."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.journeys.conftest import Ran

Run = Callable[..., Ran]


def test_the_models_are_listed_for_people_and_programs(fewtune: Run) -> None:
    ran = fewtune("backbones")
    assert ran.code == 0 and "small: hf:facebook/dinov2-small" in ran.out and "Apache-2.0" in ran.out
    found = json.loads(fewtune("backbones", "minilm", "--format", "json").out)
    assert found[0]["name"] == "hf:sentence-transformers/all-MiniLM-L6-v2" and found[0]["size"] == "small"
    assert found[0]["parameters"] == 22_700_000 and found[0]["features"] == 384 and found[0]["per_second"] is None
    ran = fewtune("backbones", "mobilnetv2_100")
    assert ran.code == 2 and "did you mean timm:mobilenetv2_100" in ran.err
