"""Contrastive finetuning on each support: a plain loop of torch's, then scikit-learn's logistic regression."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

import fewtune
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.machine import Machine
from fewtune.parts.losses import CrossEntropy, SupervisedContrast
from fewtune.parts.plan import resolve
from fewtune.recipes import contrastive, read_method
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows

WIDTH, ROWS = 6, 48
LABELS = np.arange(ROWS) % 4


def vectors() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    return (random.normal(size=(4, WIDTH))[LABELS] + random.normal(size=(ROWS, WIDTH))).astype("float32")


def test_on_the_support_every_episode_has_its_own_network_and_logistic_regression() -> None:
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8,depth=2", machine=Machine(device="cpu").resolved())
    space = RowSpace([make_examples(Vectors(vectors()), [f"c{k}" for k in LABELS])])
    episodes = Sampled(ways=3, shots=4, queries=5).draw(class_rows(space), key(0, "test"), 0, 2)
    method = read_method("contrastive(on='support', steps=5, batch=64, lr=0.03, last=1, temperature=0.5)")
    ground = Ground(backbone, space)
    found = respond(ground, method.learner, ground.start(), episodes, key(0, "answer")).logits.detach()
    x = torch.from_numpy(vectors())
    for e in range(2):
        network = copy.deepcopy(backbone.network).requires_grad_(True)
        last: Any = next(iter(network.children()))[-1]  # type: ignore[index]
        optimizer = torch.optim.AdamW(last.parameters(), lr=0.03)
        rows, label = episodes.support[e], episodes.support_label[e]
        alike = (label[:, None] == label[None]).float() - torch.eye(12)
        for _ in range(5):
            optimizer.zero_grad()
            z = normalize(network(x[rows]), dim=-1)
            logs = torch.log_softmax((z @ z.T / 0.5).masked_fill(torch.eye(12).bool(), -torch.inf), 1)
            (-(alike * logs.masked_fill(torch.eye(12).bool(), 0)).sum(1) / alike.sum(1)).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            support, query = (normalize(network(x[r]), dim=-1).double().numpy() for r in (rows, episodes.query[e]))
        twin = LogisticRegression(C=3, tol=1e-10, max_iter=5000).fit(support, label)
        mine = torch.log_softmax(found[e].double(), -1)
        np.testing.assert_allclose(mine, twin.predict_log_proba(query), atol=2e-3)


def test_on_a_source_it_is_one_phase_of_the_same_loss() -> None:
    method = contrastive(steps=7, batch=16, temperature=0.2)
    (phase,) = method.phases
    assert phase.losses == (SupervisedContrast(temperature=0.2),) and phase.steps == 7 and phase.sampler.batch == 16  # type: ignore[union-attr]
    inside = contrastive(on="support", steps=7, batch=16, temperature=0.2)
    (own,) = inside.learner.phases  # type: ignore[union-attr]
    assert inside.phases == () and replace(own, learner=phase.learner) == phase  # the linear layer is not trained
    assert read_method("contrastive(on='support', head=ridge(penalty=2))").head == read_method("ridge(penalty=2)").head


def test_a_head_may_learn_beside_at_a_rate_of_its_own() -> None:
    """Its cross-entropy counts too; without it nothing changes."""
    backbone = load_backbone(f"mlp,inputs={WIDTH},width=8,depth=2", machine=Machine(device="cpu").resolved())
    plain, both = (read_method(f"contrastive(on='support', lr=0.002, last=1{more})") for more in ("", ", head_lr=0.05"))
    assert plain == read_method("contrastive(on='support', lr=0.002, last=1, head_lr=0)")
    (phase,) = both.learner.phases  # type: ignore[union-attr]
    assert phase.losses == (CrossEntropy(), SupervisedContrast())
    names = ("layers.0.weight", "layers.1.weight", "head.weight", "head.bias")
    rates = resolve(phase.plan, names, (("layers.0", names[:1]), ("layers.1", names[1:2]))).rates_at(0, 60)
    assert rates == {"layers.0.weight": 0.0, "layers.1.weight": 0.002, "head.weight": 0.05, "head.bias": 0.05}
    space = RowSpace([make_examples(Vectors(vectors()), [f"c{k}" for k in LABELS])])
    episodes = Sampled(ways=3, shots=4, queries=5).draw(class_rows(space), key(0, "test"), 0, 1)
    ground = Ground(backbone, space)
    first, second = (respond(ground, m.learner, ground.start(), episodes, key(0, "answer")).logits for m in (plain, both))
    assert first.shape == second.shape == (1, 15, 3) and not torch.equal(first, second)


@pytest.mark.parametrize("how", ["on='support'", "on='source'"])
def test_compare_takes_it(how: str) -> None:
    method = f"contrastive({how}, steps=3, last=1)"
    found = fewtune.compare(
        (vectors(), [f"c{k}" for k in LABELS]),
        methods=["centroid", method],
        sources=[(np.tile(vectors() + 1, (3, 1)), [f"s{i % 12}" for i in range(3 * ROWS)])] if "source" in how else [],
        backbone=f"mlp,inputs={WIDTH},width=8,depth=2",
        ways=3,
        shots=2,
        settings=fewtune.CompareSettings(queries=3, episodes=4, quiet=True, training=fewtune.Training(visits=60, validation=4)),
    )
    assert [(row["method"], row["n"]) for row in found.rows] == [("centroid", 4), (method, 4)]
