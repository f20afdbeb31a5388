"""The usual learners: what answers on features that were finetuned on the labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.learners.usual import without_spread
from fewtune.learning.method import Method
from fewtune.models.fitting import fit_head
from fewtune.parts.heads import Blend, Gaussian, Logistic, Ridge
from fewtune.recipes import read_method

USUAL = read_method("blend")


def scale(method: Method, spread: float) -> float:
    """The size of the logits of new rows, where the labelled rows lie `spread` around the means of their classes."""
    random = np.random.default_rng(0)
    means, labels = random.normal(size=(4, 16)), np.repeat(np.arange(4), 6)
    rows = torch.from_numpy(means[labels] + spread * random.normal(size=(24, 16)))
    new = torch.from_numpy(means[labels] + 0.5 * random.normal(size=(24, 16)))
    state, parameters = fit_head(method, rows, np.arange(24), labels, 4, None)
    return float(method.head.score(state, new[None], parameters)[0].std(1).mean())


def test_a_model_of_rows_that_collapsed_is_not_surer_of_new_rows() -> None:
    """Finetuning draws the rows of a class together. The Gaussian's logits then grow with the square; those of the others hardly."""
    sure = {method: scale(method, 0.05) / scale(method, 0.5) for method in (USUAL, without_spread(USUAL), Method(learner=Gaussian()))}
    assert sure[USUAL] > 5 and sure[Method(learner=Gaussian())] > 50
    assert 0.8 < sure[without_spread(USUAL)] < 1.25


def test_only_the_gaussian_of_a_blend_is_left_out() -> None:
    assert isinstance(USUAL.learner, Blend)
    kept = without_spread(USUAL).learner
    assert isinstance(kept, Blend) and kept.heads == USUAL.learner.heads[:2] and kept.temperatures == USUAL.learner.temperatures[:2]
    assert [type(head) for head in kept.heads] == [Logistic, Ridge]


@pytest.mark.parametrize("method", [Method(learner=Blend(heads=(Gaussian(),))), Method(learner=Logistic()), Method(learner=Gaussian())])
def test_others_stay(method: Method) -> None:
    assert without_spread(method) == method
