"""Agreement of errors, margins and the depth probe, against scikit-learn, closed forms and hand-made layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from torch import nn

from fewtune import Backbone, InputError
from fewtune.parts.heads import Centroid, Logistic
from fewtune.transfer import depth_probe, error_agreement, group_modules, layer_features, layer_margins, layer_norms, margins
from tests.tiny import drawn


def test_agreement_is_scikit_learns_kappa_and_the_table() -> None:
    random = np.random.default_rng(0)
    first = random.random(300) < 0.7
    second = np.where(random.random(300) < 0.5, first, random.random(300) < 0.6)
    found = error_agreement(first, second)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found.table.tolist() == [
        [int((first & second).sum()), int((first & ~second).sum())],
        [int((~first & second).sum()), int((~first & ~second).sum())],
    ]
    assert found.common == pytest.approx((~first & ~second).mean())
    assert found.independent == pytest.approx((~first).mean() * (~second).mean())
    assert found.either == pytest.approx((first | second).mean())
    assert found.excess.mean == pytest.approx(found.common - found.independent)
    assert 0 < found.excess.low < found.excess.high < 0.2  # half of the errors were copied


def test_independent_errors_have_an_interval_around_nothing() -> None:
    random = np.random.default_rng(1)
    found = [error_agreement(random.random(200) < 0.7, random.random(200) < 0.7, seed=i).excess for i in range(60)]
    assert np.mean([0 in one for one in found]) > 0.85


def test_the_same_errors_and_none_at_all() -> None:
    assert error_agreement([1, 0, 1], [1, 0, 1]).kappa == pytest.approx(1.0)
    assert np.isnan(error_agreement([1, 1], [1, 1]).kappa)
    for odd in ([1, 2, 0], [1, 0]):
        with pytest.raises(InputError):
            error_agreement([1, 0, 1], odd)


def test_a_head_margin_is_the_distance_to_the_nearest_boundary() -> None:
    random = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(4, 3, generator=random, dtype=torch.float64), torch.randn(4, generator=random, dtype=torch.float64)
    features = torch.randn(20, 3, generator=random, dtype=torch.float64)
    logits, labels = features @ weight.T + bias, torch.arange(20) % 4
    found = margins(logits, labels, weight)
    for n in range(20):
        y, best = int(labels[n]), np.inf
        for j in range(4):
            if j != y:  # the signed distance to the plane where both logits are equal
                best = min(best, float((logits[n, y] - logits[n, j]) / (weight[y] - weight[j]).norm()))
        assert float(found[n]) == pytest.approx(best, rel=1e-9)
    torch.testing.assert_close(layer_margins(lambda h: h @ weight.T + bias, features, labels), found)  # exact where all above is linear
    assert bool(((margins(logits, labels) > 0) == (logits.argmax(1) == labels)).all())


def test_a_layer_margin_scales_with_what_stands_above() -> None:
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 5, generator=random, dtype=torch.float64)
    hidden = torch.randn(8, 5, generator=random, dtype=torch.float64)
    labels = (hidden.tanh() @ weight.T).argmax(1)
    found = layer_margins(lambda h: h.tanh() @ weight.T, hidden, labels)
    again = layer_margins(lambda h: (h / 2).tanh() @ weight.T, hidden * 2, labels)
    torch.testing.assert_close(again, 2 * found)
    assert bool((found >= 0).all())


def test_margins_of_one_class_or_of_other_rows_are_refused() -> None:
    for logits, labels in ((torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)), (torch.zeros(3, 2), torch.tensor([0, 1, 2]))):
        with pytest.raises(InputError):
            margins(logits, labels)


def test_norms_are_those_of_the_groups() -> None:
    weights = {"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]]), "c": torch.tensor([2.0])}
    assert layer_norms(weights, (("one", ("a", "b")), ("two", ("c",)))) == {"one": 5.0, "two": 2.0}


def blobs(count: int, seed: int, apart: float) -> tuple[torch.Tensor, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return torch.from_numpy(random.standard_normal((count, 5)) + apart * np.eye(3, 5)[labels]), labels


def test_a_probe_of_a_layer_is_scikit_learns_logistic_regression() -> None:
    (train, labels), (test, asked) = blobs(60, 0, 2.0), blobs(90, 1, 2.0)
    found = depth_probe({"deep": (train, test)}, labels, asked, Logistic(C=1.0, normalize=False))["deep"]
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(train.numpy(), labels).predict(test.numpy())
    assert found.right.tolist() == (theirs == asked).tolist()
    assert found.accuracy.mean == pytest.approx((theirs == asked).mean()) and found.accuracy.low < found.accuracy.mean < found.accuracy.high


def test_layers_of_any_width_and_any_head() -> None:
    (train, labels), (test, asked) = blobs(30, 0, 6.0), blobs(30, 1, 6.0)
    found = depth_probe({"noise": (train[:, 3:], test[:, 3:]), "deep": (train, test)}, labels, asked, Centroid(metric="euclidean"))
    assert found["deep"].accuracy.mean > 0.9 > 0.7 > found["noise"].accuracy.mean
    with pytest.raises(InputError, match="layer 'deep' has 30 and 29 rows"):
        depth_probe({"deep": (train, test[1:])}, labels, asked)
    with pytest.raises(InputError, match="training classes only"):
        depth_probe({"deep": (train, test)}, labels, asked + 1)


def convolutional() -> Backbone:
    with drawn(0):
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    return Backbone.of(network, size=12)


def test_features_of_every_group_are_the_pooled_outputs_of_its_module() -> None:
    backbone = convolutional()
    inputs = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = layer_features(backbone, backbone.start(), [inputs[:2], inputs[2:]])
    assert [*found] == [*(title for title, _ in backbone.groups), "features"]
    torch.testing.assert_close(found["features"], backbone.forward(backbone.start(), inputs))
    first = found[backbone.groups[0][0]]
    module = group_modules(backbone)[backbone.groups[0][0]]
    torch.testing.assert_close(first, module(inputs).mean((2, 3)))
    assert not any(m._forward_hooks for m in backbone.network.modules())  # the network is as it was


def test_features_follow_the_weights_at_hand() -> None:
    backbone = convolutional()
    inputs = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    zero = {n: torch.zeros_like(t) for n, t in backbone.start().items()}
    assert all(not bool(t.any()) for t in layer_features(backbone, zero, [inputs]).values())


def test_one_row_says_nothing_of_others() -> None:
    found = error_agreement([1], [0])
    assert (found.common, found.either) == (0, 1) and np.isnan(found.excess.low) and np.isnan(found.excess.high)


def test_the_distance_of_nearly_equal_rows_keeps_its_digits() -> None:
    """Forty class vectors that differ by a ten-thousandth of their length, in float32."""
    random = np.random.default_rng(0)
    weight = torch.from_numpy((10 + 1e-3 * random.normal(size=(40, 64))).astype(np.float32))
    logits, labels = torch.from_numpy(random.normal(size=(50, 40))), torch.from_numpy(random.integers(0, 40, 50))
    exact = torch.stack(
        [
            min((logits[i, y] - logits[i, j]) / (weight[y].double() - weight[j].double()).norm() for j in range(40) if j != y)
            for i, y in enumerate(labels.tolist())
        ]
    )
    torch.testing.assert_close(margins(logits.float(), labels, weight).double(), exact, rtol=1e-4, atol=1e-4)
