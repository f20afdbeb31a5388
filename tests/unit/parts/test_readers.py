"""Heads that are trained to read a support, and the Bayesian one: against loops written by hand in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.parts.heads import BlackBox, Laplace, Logistic, Relation
from fewtune.recipes import read_method
from fewtune.statistics import expected_calibration_error
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks, class_rows
from fewtune.testing.heads import answers, problem
from tests.laws.grounds import double_ground


def units(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def test_a_relation_head_is_its_formula() -> None:
    head = Relation(width=7)
    support, query, episodes, _ = problem(0)
    own = {n: t.double().numpy() for n, t in head.declare(6).items()}
    found = answers(head, support, query, episodes).numpy()
    for e in range(3):
        rows, labels = units(support[e].numpy()), episodes.support_label[e].numpy()
        for q in range(query.shape[1]):
            for k in range(4):
                mean = rows[labels == k].mean(0)
                hidden = own["head.class.weight"] @ mean + own["head.query.weight"] @ units(query[e, q].numpy()) + own["head.bias"]
                assert found[e, q, k] == pytest.approx(own["head.out.weight"] @ gelu(hidden), rel=1e-9, abs=1e-9)


def test_a_black_box_is_attention_over_rows_and_their_labels() -> None:
    head = BlackBox(width=6, depth=2, attention_heads=2)
    support, query, episodes, _ = problem(1)
    own = {n.removeprefix("head."): t.double().numpy() for n, t in head.declare(6).items()}
    found = answers(head, support, query, episodes).numpy()

    def normal(t: np.ndarray) -> np.ndarray:
        return t / np.sqrt((t**2).mean(-1, keepdims=True) + 1e-6)

    def layer(n: int, tokens: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        out = []
        for token in tokens:
            asking, seen = own[f"{n}.query.weight"] @ normal(token), []
            for h in (slice(0, 3), slice(3, 6)):
                weights = softmax(keys[:, h] @ asking[h] / math.sqrt(3))
                seen.append(weights @ values[:, h])
            moved = token + own[f"{n}.out.weight"] @ np.concatenate(seen)
            out.append(moved + own[f"{n}.down.weight"] @ gelu(own[f"{n}.up.weight"] @ normal(moved)))
        return np.stack(out)

    for e in range(3):
        labels = episodes.support_label[e].numpy()
        rows, asked = units(support[e].numpy()) @ own["in.weight"].T, units(query[e].numpy()) @ own["in.weight"].T
        for n in range(2):
            plain = normal(rows)
            means = np.stack([plain[labels == k].mean(0) for k in range(4)])
            marked = plain + means[labels] @ own[f"{n}.label.weight"].T
            keys, values = marked @ own[f"{n}.key.weight"].T, marked @ own[f"{n}.value.weight"].T
            rows, asked = layer(n, rows, keys, values), layer(n, asked, keys, values)
        classes = units(np.stack([normal(rows)[labels == k].mean(0) for k in range(4)]))
        np.testing.assert_allclose(found[e], 10 * units(asked) @ classes.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_laplace_scales_the_logits_by_the_inverse_hessian(classes: int) -> None:
    """By the D x D inverse. Of two classes it is the exact posterior of the one weight that they share."""
    head, C = Laplace(C=5.0), 5.0
    support, query, episodes, _ = problem(2, K=classes, shots=(3, 4, 2, 5))
    plain = answers(Logistic(C=C), support, query, episodes).numpy()
    found = answers(head, support, query, episodes).numpy()
    for e in range(3):
        rows, asked = units(support[e].numpy()), units(query[e].numpy())
        p = softmax(answers(Logistic(C=C), support, support, episodes).numpy()[e], axis=1)
        mean = rows.mean(0)
        for k in range(classes):
            w = p[:, k] * (1 - p[:, k])
            precision = ((rows - mean) * w[:, None]).T @ (rows - mean) + np.eye(6) / C
            variance = np.einsum("qd,de,qe->q", asked - mean, np.linalg.inv(precision), asked - mean)
            np.testing.assert_allclose(found[e, :, k], plain[e, :, k] / np.sqrt(1 + math.pi / 8 * variance), rtol=1e-6, atol=1e-8)


def test_laplace_is_less_sure_where_the_support_says_little() -> None:
    """Two classes along one direction: a query that also goes far in another direction is answered less surely, with the same label."""
    support = torch.tensor([[[1.0, 0, 0], [1.2, 0.1, 0], [-1.0, 0, 0], [-1.1, -0.1, 0]]], dtype=torch.float64)
    _, _, episodes, _ = problem(0, E=1, K=2, shots=(2, 2))
    near, far = (torch.tensor([[[0.8, 0, z]]], dtype=torch.float64) for z in (0.0, 5.0))
    head = Laplace(C=10.0, normalize=False)
    sure, unsure = (torch.softmax(answers(head, support, one, episodes)[0, 0], 0) for one in (near, far))
    assert float(sure[0]) > 0.8 and 0.5 < float(unsure[0]) < float(sure[0]) - 0.1


def test_laplace_is_better_calibrated_where_labels_are_noisy() -> None:
    """Labels drawn from a known model, 30 rows, little regularisation: the fit is too sure, its posterior less so."""
    errors: dict[str, list[float]] = {"Logistic": [], "Laplace": []}
    for seed in range(12):
        random = np.random.default_rng(seed)
        weight = random.standard_normal(8)
        x = random.standard_normal((430, 8))
        y = (random.random(430) < 1 / (1 + np.exp(-x @ weight))).astype(np.int64)
        order = np.argsort(y[:30], kind="stable")
        _, _, episodes, _ = problem(0, E=1, K=2, shots=(int((y[:30] == 0).sum()), int((y[:30] == 1).sum())), D=8)
        support, query = torch.from_numpy(x[:30][order])[None], torch.from_numpy(x[30:])[None]
        for head in (Logistic(C=100.0, normalize=False), Laplace(C=100.0, normalize=False)):
            p = torch.softmax(answers(head, support, query, episodes)[0], -1).numpy()
            errors[type(head).__name__].append(expected_calibration_error(p, y[30:]))
    assert np.mean(errors["Laplace"]) < 0.75 * np.mean(errors["Logistic"])


@pytest.fixture(scope="module")
def ground() -> Ground:
    return double_ground()


@pytest.mark.parametrize(
    "text", ["relation_network(steps=80, ways=3, shots=2, queries=3, lr=0.03)", "black_box(steps=60, ways=3, shots=2, queries=3)"]
)
def test_episodes_train_what_reads_the_support(ground: Ground, text: str) -> None:
    """The loss falls, the backbone stands still, and new episodes are answered better than by the head as it began."""
    method = read_method(text)
    tasks: Tasks = class_rows(ground.space)
    found = train(ground, method.phases, tasks, key(0))
    assert all(n.startswith("head.") for n in found.moved)
    loss = [row["loss"] for row in found.curve]
    assert np.mean(loss[-10:]) < 0.8 * np.mean(loss[:5])
    episodes = Sampled(ways=3, shots=2, queries=5).draw(tasks, key(9), 0, 20)
    features = ground.backbone.embed(ground.start(), ground.space, torch.cat([episodes.support, episodes.query], 1))
    head = method.head
    own = ground.read(head, found.weights)

    def right(parameters: dict[str, torch.Tensor]) -> float:
        state = head.fit(features[:, :6], episodes, None, parameters)
        return float((head.score(state, features[:, 6:], parameters).argmax(-1) == episodes.query_label).double().mean())

    begun = {n: t.double() for n, t in head.declare(features.shape[-1]).items()}
    assert right({n: t.double() for n, t in own.items()}) > right(begun) + (0.2 if isinstance(head, Relation) else -0.02)


def test_options_out_of_range_are_refused() -> None:
    for head, options in (
        (Relation, {"width": 0}),
        (BlackBox, {"width": 6, "attention_heads": 4}),
        (BlackBox, {"depth": 0}),
        (Laplace, {"C": 0.0}),
    ):
        with pytest.raises(InputError):
            head(**options)  # type: ignore[arg-type]
