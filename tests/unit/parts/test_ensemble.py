"""Ensemble: the mean of what heads say of their own parts of the features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads import Centroid, Ensemble, Linear, Logistic, Matching, NamedLogistic, Ridge, Text, TextPrior
from fewtune.parts.heads.head import Head, answer
from fewtune.spec import parse, text
from fewtune.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, WIDTH = 3, 4, 5, 6


def episode() -> Episodes:
    support = torch.arange(WAYS * SHOTS)[None]
    query = torch.arange(QUERIES)[None]
    return Episodes(support, (support % WAYS), query, query % WAYS, torch.arange(WAYS)[None], torch.zeros(1, dtype=torch.int64))


def features(rows: int, parts: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, rows, parts * WIDTH, generator=g, dtype=torch.float64)


def by_itself(head: Head, support: Tensor, query: Tensor, vectors: Tensor | None) -> Tensor:
    parameters = {n: t.to(support) for n, t in head.declare(WIDTH).items()}
    return answer(head, support, query, episode(), vectors if head.reads_classes else None, parameters)


@pytest.mark.parametrize(
    ("heads", "temperatures"),
    [
        ((Logistic(), Ridge(penalty=0.5)), (0.5, 2.0)),
        ((Ridge(), Ridge(penalty=3.0), Centroid()), (1.0, 0.3, 4.0)),
        ((NamedLogistic(), Logistic()), (0.7, 1.3)),
        ((TextPrior(), NamedLogistic(prompts=TextPrior().prompts)), (1.0, 2.0)),
    ],
)
def test_logits_are_the_mean_of_the_heads_each_on_its_part(heads: tuple[Head, ...], temperatures: tuple[float, ...]) -> None:
    """Each head alone, on a slice; and so the log-probabilities are those means but for a constant."""
    one = Ensemble(heads=heads, temperatures=temperatures)
    support, query, vectors = features(12, len(heads), 0), features(QUERIES, len(heads), 1), features(WAYS, len(heads), 2)
    parameters = {n: t.to(support) for n, t in one.declare(len(heads) * WIDTH).items()}
    found = answer(one, support, query, episode(), vectors if one.reads_classes else None, parameters)
    each = [slice(i * WIDTH, (i + 1) * WIDTH) for i in range(len(heads))]
    alone = [by_itself(h, support[..., s], query[..., s], vectors[..., s]) for h, s in zip(heads, each, strict=True)]
    mean = sum((z / t for z, t in zip(alone, temperatures, strict=True)), torch.zeros(())) / len(heads)
    torch.testing.assert_close(found, mean, rtol=1e-9, atol=1e-9)
    logs = sum((torch.log_softmax(z / t, -1) for z, t in zip(alone, temperatures, strict=True)), torch.zeros(())) / len(heads)
    torch.testing.assert_close(torch.log_softmax(found, -1), torch.log_softmax(logs, -1), rtol=1e-9, atol=1e-9)


def test_a_head_sees_nothing_of_the_others_parts() -> None:
    one = Ensemble(heads=(Ridge(), Ridge()))
    support, query = features(12, 2, 0), features(QUERIES, 2, 1)
    parameters = {n: t.to(support) for n, t in one.declare(2 * WIDTH).items()}
    state = one.fit(support, episode(), None, parameters)
    other = one.fit(torch.cat([support[..., :WIDTH], 5 * support[..., WIDTH:] + 1], -1), episode(), None, parameters)
    for name, tensor in state.items():
        assert torch.equal(tensor, other[name]) == name.startswith("0.")
    assert {name.partition(".")[0] for name in state} == {"0", "1"}
    assert one.score(state, query, parameters).shape == (1, QUERIES, WAYS)


def test_parameters_are_those_of_each_head_by_its_place() -> None:
    one = Ensemble(heads=(Ridge(), Logistic(), Ridge()))
    declared = one.declare(3 * WIDTH)
    own = {n.removeprefix("head.") for n in Ridge().declare(WIDTH)}
    assert own and set(declared) == {f"head.{place}.{n}" for place in (0, 2) for n in own}
    query, support = features(QUERIES, 3, 1), features(12, 3, 0)
    parameters = {n: t.to(support) for n, t in declared.items()}
    plain = one.score(one.fit(support, episode(), None, parameters), query, parameters)
    scaled = parameters | {"head.2.scale": parameters["head.2.scale"] * 7}
    moved = one.score(one.fit(support, episode(), None, scaled), query, scaled)
    third = by_itself(Ridge(), support[..., 2 * WIDTH :], query[..., 2 * WIDTH :], None)
    torch.testing.assert_close(moved - plain, 6 * third / 3, rtol=1e-9, atol=1e-9)


def test_prompts_are_those_that_its_heads_share() -> None:
    assert Ensemble(heads=(Logistic(), NamedLogistic(prompts=("{}",)))).prompts == ("{}",)
    assert not Ensemble(heads=(Ridge(),)).reads_classes and Ensemble(heads=(Ridge(),)).prompts == ()
    assert parse(text(Ensemble()), {h.__name__: h for h in (Ensemble, Logistic)}) == Ensemble() == Ensemble(temperatures=(1.0,))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ensemble(heads=()), "at least one head in an ensemble, found none"),
        (lambda: Ensemble(heads=(Linear(),)), "Linear cannot be in an ensemble"),
        (lambda: Ensemble(heads=(Text(),)), "Text cannot be in an ensemble"),
        (lambda: Ensemble(heads=(Matching(neighbours=3), Ridge()), temperatures=(1.0,)), "2 temperatures above 0, one a head"),
        (lambda: Ensemble(heads=(Ridge(),), temperatures=(0.0,)), "1 temperatures above 0"),
        (lambda: Ensemble(heads=(Ridge(),), temperatures=(float("nan"),)), "1 temperatures above 0"),
        (lambda: Ensemble(heads=(NamedLogistic(prompts=("{}",)), NamedLogistic(prompts=("a {}",)))), "must share their prompts"),
        (lambda: Ensemble(heads=(Ridge(), Ridge())).declare(7), "features of 2 parts of one width, found 7 numbers"),
    ],
)
def test_what_makes_no_ensemble_is_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]
