"""Temperatures against closed forms and stationarity, the calibration error by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.special import softmax as scipys

from fewtune.statistics import UsualTemperature, expected_calibration_error, fit_temperature, softmax


def average_nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return -float(log_softmax(logits / temperature, axis=1)[np.arange(len(logits)), labels].mean())


@pytest.mark.parametrize(("margin", "right", "n"), [(10.0, 90, 100), (0.01, 9, 10), (500.0, 60, 100), (3.0, 999, 1000)])
def test_two_classes_one_margin(margin: float, right: int, n: int) -> None:
    """Logits (a, 0) with a share q right: sigmoid(a / T) = q, so T = a / log(q / (1 - q)); smoothing s makes q into (1 - s) q + s / 2."""
    logits = np.tile([margin, 0.0], (n, 1))
    labels = np.r_[np.zeros(right, int), np.ones(n - right, int)]
    for smoothing, share in ((0.0, 0.0), (None, 1 / (n + 2)), (0.1, 0.1)):
        q = (1 - share) * right / n + share / 2
        assert fit_temperature(logits, labels, smoothing) == pytest.approx(margin / math.log(q / (1 - q)), rel=1e-4)


def test_recovers_the_temperature_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 6))
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), 1)
    assert fit_temperature(logits * 7, labels, 0.0) == pytest.approx(7, rel=0.03)
    assert fit_temperature(logits * 7, labels) == pytest.approx(7, rel=0.03)


def test_is_the_stationary_point() -> None:
    """At the minimum the mean logit under the forecast equals the mean logit of the labels."""
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 3, (200, 4)), rng.integers(4, size=200)
    logits[np.arange(200), labels] += 2
    temperature = fit_temperature(logits, labels, 0.0)
    forecast = (softmax(logits, temperature) * logits).sum(1).mean()
    assert forecast == pytest.approx(logits[np.arange(200), labels].mean(), abs=1e-4)
    least = average_nll(logits, labels, temperature)
    assert all(least < average_nll(logits, labels, temperature * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_all_right_does_not_mean_certain() -> None:
    logits = np.tile([5.0, 0.0, 0.0], (20, 1))
    confidence = softmax(logits, fit_temperature(logits, np.zeros(20, int)))[0, 0]
    assert confidence == pytest.approx(1 - (2 / 3) / 22, abs=1e-4)
    assert fit_temperature(logits, np.zeros(20, int), 0.0) < 0.5


def test_what_is_usual_counts_as_much_as_its_density() -> None:
    """The slope of the log-posterior over log T vanishes: that of `items` mean log-likelihoods and of a normal density."""
    random = np.random.default_rng(3)
    z = random.normal(size=(40, 3))
    y = (z + random.normal(size=(40, 3))).argmax(1)
    usual = UsualTemperature(centre=3.0, spread=0.4)
    for items in (0, 8):

        def posterior(t: float, items: int = items) -> float:
            likely = log_softmax(z / t, axis=1)[np.arange(40), y].mean()
            return float((items or 40) * likely - ((math.log(t) - math.log(3)) / 0.4) ** 2 / 2)

        t = fit_temperature(z, y, smoothing=0.0, usual=usual, items=items)
        assert abs(posterior(t * 1.001) - posterior(t / 1.001)) < 1e-5 < abs(posterior(t * 1.1) - posterior(t / 1.1))
    alone, few, many = fit_temperature(z, y), fit_temperature(z, y, usual=usual, items=1), fit_temperature(z, y, usual=usual, items=10**7)
    assert alone < few < 3 and few == pytest.approx(3, rel=0.1) and many == pytest.approx(alone, rel=1e-4)
    assert fit_temperature(np.zeros((4, 2)), np.zeros(4, dtype=int), usual=usual) == pytest.approx(3, rel=1e-4)


def test_padded_classes_change_nothing() -> None:
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(50, 3)), rng.integers(3, size=50)
    padded = np.c_[logits, np.full((50, 2), -np.inf)]
    assert fit_temperature(padded, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-9)
    assert softmax(padded)[:, 3:].max() == 0 and softmax(padded).sum(1) == pytest.approx(np.ones(50))
    np.testing.assert_allclose(softmax(logits, 1.7), scipys(logits / 1.7, axis=1), rtol=1e-12)


def test_logits_that_say_nothing() -> None:
    assert fit_temperature(np.zeros((10, 3)), np.zeros(10, int)) == 1.0
    assert fit_temperature(np.array([[0.0, -np.inf]]), [0]) == 1.0
    with_noise = np.random.default_rng(0).normal(size=(300, 3))
    worse = -3 * np.eye(3)[np.arange(300) % 3] + 0.01 * with_noise
    assert fit_temperature(worse, np.arange(300) % 3) > 9_000  # worse than chance: as flat as the range allows


def test_calibration_error_by_hand() -> None:
    p = [[0.95, 0.05], [0.85, 0.15], [0.85, 0.15], [0.4, 0.6]]
    # Ten bins: .95 wrong (gap .95, 1 item); .85 right and wrong (gap .35, 2 items); .6 right (gap .4, 1 item, bin (.5, .6]).
    assert expected_calibration_error(p, [1, 0, 1, 1], bins=10) == pytest.approx((0.95 + 2 * 0.35 + 0.4) / 4, rel=1e-12)
    assert expected_calibration_error(p, [1, 0, 1, 1], bins=1) == pytest.approx(abs(0.5 - 0.8125), rel=1e-12)
    # .5 and .45 share the bin (.4, .5]: gaps .5 (right) and -.45 (wrong) cancel.
    assert expected_calibration_error([[0.5, 0.25, 0.25], [0.45, 0.3, 0.25]], [0, 1], bins=10) == pytest.approx(0.05 / 2, rel=1e-9)
    assert expected_calibration_error([[1.0, 0.0]], [0]) == 0.0


def test_calibrated_forecasts_have_little_error() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (20_000, 5))
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), 1)
    assert expected_calibration_error(softmax(logits), labels) < 0.015
    assert expected_calibration_error(softmax(logits, 0.3), labels) > 0.1


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([1.0, 2.0], [0]),
        ([[1.0, math.nan]], [0]),
        ([[1.0, math.inf]], [0]),
        ([[-math.inf, -math.inf]], [0]),
        ([[1.0, -math.inf]], [1]),
        ([[1.0, 2.0]], [2]),
        ([[1.0, 2.0]], [-1]),
        ([[1.0, 2.0]], [0.0]),
        ([[1.0, 2.0]], [0, 1]),
        (np.zeros((0, 2)), np.zeros(0, int)),
    ],
)
def test_refuses(logits: object, labels: object) -> None:
    with pytest.raises(ValueError, match=r"expected .* found"):
        fit_temperature(logits, labels)  # type: ignore[arg-type]


def test_refuses_settings_and_forecasts() -> None:
    with pytest.raises(ValueError, match="items"):
        fit_temperature(np.eye(2), [0, 1], items=-1)
    with pytest.raises(ValueError, match="spread"):
        UsualTemperature(1.0, 0.0)
    with pytest.raises(ValueError, match="centre"):
        UsualTemperature(-1.0, 0.5)
    with pytest.raises(ValueError, match="smoothing"):
        fit_temperature([[1.0, 2.0]], [0], 1.0)
    with pytest.raises(ValueError, match="temperature above 0"):
        softmax([[1.0, 2.0]], 0.0)
    with pytest.raises(ValueError, match="sum to 1"):
        expected_calibration_error([[0.5, 0.2]], [0])
    with pytest.raises(ValueError, match="at least 1 bin"):
        expected_calibration_error([[0.5, 0.5]], [0], bins=0)
