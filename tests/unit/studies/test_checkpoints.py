"""Checkpoints of a pretraining run, finetuned alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fewtune
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.errors import InputError
from fewtune.studies.starts import CheckpointCurves, Curve, Finetuning, StartCurves, checkpoint_curves, start_curves
from tests.tiny import images


def of(**tenths: list[int]) -> CheckpointCurves:
    curves = [Curve(n[1:], 0, 0, (0, 10, 20), np.arange(100)[None] < 10 * np.array(points)[:, None]) for n, points in tenths.items()]
    return CheckpointCurves(tuple(int(n[1:]) for n in tenths), StartCurves("x", 0.1, tuple(curves)))


def test_what_is_said_of_known_curves() -> None:
    found = of(_0=[1, 3, 5], _100=[1, 7, 9], _200=[1, 9, 9])
    assert {step: round(c.final.mean, 6) for step, c in found.convergence().items()} == {0: 0.5, 100: 0.9, 200: 0.9}
    assert found.convergence(share=0.75)[100].steps.mean == pytest.approx(10) and found.convergence(share=0.75)[
        200
    ].steps.mean == pytest.approx(7.5)
    assert found.behind()[0].mean == pytest.approx(-0.4) and found.behind()[100].mean == 0
    assert found.enough() == 100 and of(_0=[1, 3, 5], _9=[1, 9, 9]).enough() == 9
    final, speed = found.trends()
    assert final.rho == pytest.approx(0.866, abs=0.01) and speed.rho == pytest.approx(-1)


def test_the_checkpoints_of_a_run_are_finetuned(tmp_path: Path) -> None:
    photos = make_examples(Pixels(images(36)), np.arange(36) % 2, class_names=("a", "b"), name="photos")
    how = fewtune.PretrainSettings(objective="supervised", visits=48, batch=8, checkpoints=2, probe=False)
    fewtune.pretrain(photos, backbone="conv4,size=28,width=4", out=tmp_path / "run", settings=how)
    train, test = photos.take(np.arange(24)), photos.take(np.arange(24, 36))
    settings = Finetuning(steps=3, batch=8, watch=3)
    found = checkpoint_curves(tmp_path / "run", train, test, settings)
    assert found.steps == (2, 4)
    alone = start_curves({"x": fewtune.load_backbone(f"run:{tmp_path / 'run'},step=4")}, train, test, settings)
    assert np.array_equal(found.found.of("4")[0].right, alone.curves[0].right)
    with pytest.raises(InputError, match="two or more"):
        checkpoint_curves(tmp_path / "run", train, test, settings, steps=(2,))
    for steps in ((), (2, 4)):
        with pytest.raises(InputError, match="nowhere does not exist"):
            checkpoint_curves(tmp_path / "nowhere", train, test, settings, steps=steps)
    with pytest.raises(InputError, match="no checkpoint of step 3"):
        checkpoint_curves(tmp_path / "run", train, test, settings, steps=(2, 3))
