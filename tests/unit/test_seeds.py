"""A seed that is given twice would count one run twice: every study refuses it before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fewtune.errors import InputError
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.training_settings import Training
from fewtune.joint.study import ColumnsStudy
from fewtune.studies.mamf.settings import MamfSettings
from fewtune.studies.regression import compare_regression
from fewtune.studies.sinusoid import race
from fewtune.studies.starts import start_curves, surgical_study
from fewtune.studies.verification import verify
from fewtune.tasks.samplers import Sampled

NOT_LOOKED_AT: Any = None
STUDIES: dict[str, Callable[[tuple[int, ...]], object]] = {
    "episodes": lambda seeds: Protocol(sampler=Sampled(ways=2, shots=1, queries=1), episodes=1, seeds=seeds),
    "training": lambda seeds: Training(seeds=seeds),
    "label columns": lambda seeds: ColumnsStudy(seeds=seeds),
    "mamf": lambda seeds: MamfSettings(seeds=seeds),
    "numbers": lambda seeds: compare_regression(NOT_LOOKED_AT, [], NOT_LOOKED_AT, seeds=seeds),
    "race": lambda seeds: race([1], seeds=seeds),
    "verification": lambda seeds: verify(NOT_LOOKED_AT, NOT_LOOKED_AT, NOT_LOOKED_AT, seeds=seeds),
    "starts": lambda seeds: start_curves({}, NOT_LOOKED_AT, NOT_LOOKED_AT, {}, seeds=seeds),
    "surgical": lambda seeds: surgical_study(NOT_LOOKED_AT, NOT_LOOKED_AT, {}, {}, NOT_LOOKED_AT, NOT_LOOKED_AT, seeds=seeds),
}


@pytest.mark.parametrize("study", STUDIES)
def test_seeds_are_distinct(study: str) -> None:
    with pytest.raises(InputError, match=r"expected distinct (training )?seeds, found 0, 0\.$"):
        STUDIES[study]((0, 0))
    with pytest.raises(InputError, match=r"expected distinct (training )?seeds, found none\.$"):
        STUDIES[study](())
