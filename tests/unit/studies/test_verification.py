"""Accuracy against tasks and rows: the study's rows and episodes, and the law on the latent model."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.errors import InputError
from fewtune.studies.verification import Setting, latent_classes, verify

FAST = Setting(steps=4, episodes=20)


def test_the_same_seed_gives_the_same_and_before_knows_no_cell() -> None:
    source, target, backbone = latent_classes(0, classes=16, new=8)
    one = verify(source, target, backbone, tasks=(2, 4), rows=(2, 4), shots=(1, 3), setting=FAST, seeds=(0, 1))
    two = verify(source, target, backbone, tasks=(4,), rows=(4,), shots=(1, 3), setting=FAST, seeds=(0, 1))
    assert one.cells == ((2, 2), (2, 4), (4, 2), (4, 4)) and one.at_total(8) == [(2, 4), (4, 2)]
    np.testing.assert_array_equal(one.after[3], two.after[0])
    np.testing.assert_array_equal(one.before, two.before)
    assert (one.before[1] > one.before[0]).all()  # three shots beside one
    gain = one.gain((4, 4), (2, 2), 1)
    assert gain.mean == pytest.approx(one.accuracy(4, 4, 1).mean - one.accuracy(2, 2, 1).mean)
    with pytest.raises(InputError, match="above the 1 of the support"):
        verify(source, target, backbone, rows=(1,))
    with pytest.raises(InputError, match="class of 16 rows"):
        verify(source, target, backbone, rows=(17,))


def test_targets_are_of_the_rotated_signs() -> None:
    """Class means are +-half in the hidden coordinates: their norm is half sqrt(coordinates), up to noise."""
    source, target, _ = latent_classes(3, classes=6, new=4, rows=4000, half=2.0)
    for made in (source, target):
        x = made.items.vectors  # type: ignore[attr-defined]
        means = np.stack([x[made.labels == c].mean(0) for c in range(len(made.class_names))])
        np.testing.assert_allclose(np.linalg.norm(means, axis=1), 4.0, atol=0.1)


@pytest.mark.slow
def test_accuracy_grows_with_tasks_rows_and_shots() -> None:
    found = verify(*latent_classes(0), tasks=(4, 64), rows=(2, 16), shots=(1, 5))
    assert found.gain((64, 16), (4, 16), 1).low > 0 and found.gain((64, 16), (64, 2), 1).low > 0
    assert (found.after[:, 1] > found.after[:, 0]).all()
