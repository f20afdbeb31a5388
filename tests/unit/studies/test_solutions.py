"""Curves between solutions, soups and ensembles: against the ends, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.edits import LoRA, edited
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.parts.heads import Centroid, Linear
from fewtune.recipes import standard, wise_ft
from fewtune.report.solutions_figure import alpha_figure
from fewtune.studies.solutions import alpha_curve, together
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.laws.grounds import double_ground

HEAD = Centroid()


@pytest.fixture(scope="module")
def ground() -> Ground:
    return double_ground()


def trained(ground: Ground, lr: float) -> dict[str, Tensor]:
    phases = standard(steps=20, batch=16, lr=lr).phases
    run = train(ground, phases, class_rows(ground.space), key(0))
    return {n: t for n, t in run.weights.items() if n in ground.names}


def test_the_ends_of_the_curve_are_the_networks_themselves(ground: Ground) -> None:
    asked = Sampled(ways=3, shots=2, queries=4).draw(class_rows(ground.space), key(5), 0, 30)
    start, end = ground.start(), trained(ground, 0.3)
    curve = alpha_curve(ground, start, end, HEAD, asked, alphas=(0.0, 0.5, 1.0))
    for place, weights in ((0, start), (2, end)):
        (scores,) = score_each(ground, HEAD, weights, [asked])
        np.testing.assert_array_equal(curve.accuracy[place], scores.accuracy)
    half = train(ground, wise_ft(share=0.5, steps=20, batch=16, lr=0.3).phases, class_rows(ground.space), key(0)).weights
    (scores,) = score_each(ground, HEAD, half, [asked])
    np.testing.assert_allclose(curve.accuracy[1].mean(), scores.accuracy.mean(), atol=0.02)  # another order of batches
    assert curve.gain(1.0).mean == 0 and curve.gain(0.0).mean == pytest.approx(curve.accuracy[0].mean() - curve.accuracy[2].mean())
    with pytest.raises(InputError, match="expected alpha as one of"):
        curve.gain(0.3)
    figure = alpha_figure(curve)
    assert figure.svg.startswith("<svg") and "alpha" in figure.caption


def test_soups_and_ensembles_are_those_made_by_hand(ground: Ground) -> None:
    draw = Sampled(ways=3, shots=1, queries=4)
    validation, test = (draw.draw(class_rows(ground.space), key(seed), 0, 40) for seed in (7, 8))
    members = {f"lr {lr}": trained(ground, lr) for lr in (0.05, 0.5, 3.0)}
    found = together(ground, members, HEAD, validation, test)

    def log_probabilities(weights: dict[str, Tensor], asked: object) -> Tensor:
        with torch.no_grad():
            return respond(ground, HEAD, weights, asked, key(0)).logits.double().log_softmax(-1)  # type: ignore[arg-type]

    def right(logs: Tensor, asked: object) -> float:
        return float((logs.argmax(-1) == asked.query_label).double().mean())  # type: ignore[attr-defined]

    each = {name: log_probabilities(end, validation) for name, end in members.items()}
    order = sorted(members, key=lambda name: -right(each[name], validation))
    taken = order[:1]
    for name in order[1:]:
        before, after = (right(sum(each[n] for n in some) / len(some), validation) for some in (taken, [*taken, name]))  # type: ignore[arg-type]
        taken = [*taken, name] if after >= before else taken
    assert found.taken == tuple(taken)
    on_test = {name: log_probabilities(end, test) for name, end in members.items()}
    means = {name: float(values.mean()) for name, values in found.accuracy.items()}
    assert means["ensemble"] == pytest.approx(right(sum(on_test.values()) / 3, test))  # type: ignore[arg-type]
    assert means["greedy ensemble"] == pytest.approx(right(sum(on_test[n] for n in taken) / len(taken), test))  # type: ignore[arg-type]
    assert means["best on validation"] == pytest.approx(right(on_test[order[0]], test))
    assert means["oracle"] == pytest.approx(max(right(logs, test) for logs in on_test.values()))
    mixed = {n: sum(end[n] for end in members.values()) / 3 for n in members["lr 0.5"]}
    assert means["uniform soup"] == pytest.approx(right(log_probabilities(mixed, test), test))  # type: ignore[arg-type]
    assert set(found.intervals()) == {*members, *means}


def test_networks_with_a_trained_head_are_averaged_with_their_heads(ground: Ground) -> None:
    """Whole numbers, such as the mark of the classes of a head, stay what they are."""
    tasks = class_rows(ground.space)
    head = Linear(rows="class", name="source")
    members = {f"lr {lr}": train(ground, standard(steps=5, batch=16, lr=lr).phases, tasks, key(0)).weights for lr in (0.05, 0.5)}
    assert any(n.endswith(".classes") for n in members["lr 0.5"])
    asked = Pooled(batch=1).draw(tasks, key(9), 0, 20)
    found = together(ground, members, head, asked, asked)
    mixed = {n: (a + members["lr 0.5"][n]) / 2 if a.is_floating_point() else a for n, a in members["lr 0.05"].items()}
    with torch.no_grad():
        by_hand = respond(ground, head, mixed, asked, key(0)).logits.argmax(-1) == asked.query_label
    np.testing.assert_array_equal(found.accuracy["uniform soup"], by_hand[:, 0].double())


def test_one_network_alone_is_every_ensemble(ground: Ground) -> None:
    asked = Sampled(ways=3, shots=1, queries=4).draw(class_rows(ground.space), key(9), 0, 10)
    found = together(ground, {"a": trained(ground, 0.5)}, HEAD, asked, asked)
    assert len({values.tobytes() for values in found.accuracy.values()}) == 1
    with pytest.raises(InputError, match="at least one trained network"):
        together(ground, {}, HEAD, asked, asked)


EDITS = (LoRA(patterns=("*.weight",), rank=2),)


def test_changes_of_low_rank_are_mixed_as_the_changes_that_they_make(ground: Ground) -> None:
    """The product of mean factors is not the mean of the products: curve and soups are those of the edited networks."""
    thin = Ground(ground.backbone, ground.space, EDITS)
    start, random = thin.start(), torch.Generator().manual_seed(1)
    ends = [
        {n: t + torch.randn(t.shape, generator=random, dtype=torch.float64).to(t) if n in thin.edit_names else t for n, t in start.items()}
        for _ in range(2)
    ]
    asked = Sampled(ways=4, shots=1, queries=4).draw(class_rows(ground.space), key(6), 0, 40)
    plain = [edited(EDITS, weights) for weights in (start, *ends)]

    found = alpha_curve(thin, start, ends[0], HEAD, asked, alphas=(0.0, 0.5, 1.0)).accuracy
    np.testing.assert_array_equal(found, alpha_curve(ground, plain[0], plain[1], HEAD, asked, alphas=(0.0, 0.5, 1.0)).accuracy)
    one = together(thin, dict(zip("ab", ends, strict=True)), HEAD, asked, asked).accuracy
    two = together(ground, dict(zip("ab", plain[1:], strict=True)), HEAD, asked, asked).accuracy
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)
    assert found[1].mean() != found[2].mean() != one["uniform soup"].mean()
