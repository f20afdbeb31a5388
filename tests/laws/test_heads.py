"""Laws that every head obeys, over every final class and a few settings of each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads import (
    HEADS,
    BlackBox,
    Blend,
    Centroid,
    Ensemble,
    Gaussian,
    KernelPrior,
    Laplace,
    Linear,
    Logistic,
    LpPlus,
    Matching,
    MultiLogistic,
    NamedGaussian,
    NamedLogistic,
    Paired,
    Relation,
    Ridge,
    Shrink,
    Svm,
    Text,
    TextPrior,
    TextProbe,
    TipAdapter,
)
from fewtune.parts.heads.head import answer, stored
from fewtune.parts.heads.shrink import GRID, USUAL
from fewtune.parts.sharing import (
    SHARING,
    Additive,
    CrossStitch,
    Film,
    Gating,
    Independent,
    Mmoe,
    Mtan,
    SharedBottom,
    Sharing,
    TaskQueries,
)
from fewtune.spec import parse, text
from fewtune.testing import check_head
from fewtune.testing.heads import NAMES, answers, begun, problem, relabelled

CASES = (
    BlackBox(),
    BlackBox(width=6, depth=1, attention_heads=2, temperature=3.0),
    Blend(),
    Blend(heads=(Centroid(), Ridge(scale=3.0), Ridge(penalty=0.1)), temperatures=(1.0, 0.5, 2.0)),
    Centroid(),
    Centroid(normalize_first=False),
    Centroid(metric="euclidean"),
    Centroid(metric="euclidean", normalize_first=True, temperature=3.0),
    Ensemble(),
    Ensemble(heads=(Ridge(penalty=0.1), Logistic()), temperatures=(0.5, 2.0)),
    Ensemble(heads=(NamedLogistic(), Logistic())),
    Gaussian(),
    Gaussian(scale=1.0),
    KernelPrior(),
    KernelPrior(penalty=0.1, beta=3.0),
    Laplace(),
    Laplace(C=300.0, normalize=False),
    Linear(rows="class", start="random"),
    Linear(rows="class", start="random", bias=False),
    Linear(start="centroid"),
    Linear(start="centroid", bias=False),
    Linear(start="centroid", cosine=True),
    Linear(start="text", cosine=True, prompts="a {}"),
    Linear(start="text", prompts="a {}"),
    Linear(rows="class", start="random", cosine=True, temperature=7.0),
    Logistic(),
    Logistic(C=1e4, normalize=False),
    Logistic(C=1e-7),
    Logistic(intercept=False),
    Logistic(C="loo"),
    Logistic(C="loo", normalize=False, intercept=False),
    LpPlus(),
    LpPlus(steps=7),
    Matching(),
    Matching(temperature=300.0),
    Matching(neighbours=3),
    MultiLogistic(),
    MultiLogistic(C=10.0, normalize=False),
    NamedGaussian(),
    NamedGaussian(weight=5.0, scale=1.0),
    NamedLogistic(),
    NamedLogistic(C=10.0, names=1),
    Paired(),
    Paired(temperature=10.0, offset=-10.0),
    Relation(),
    Relation(width=7, seed=3),
    Ridge(),
    Ridge(penalty=1e-3, normalize=False, intercept=True, scale=7.0),
    Ridge(penalty="loo"),
    Ridge(penalty="loo", intercept=True, normalize=False),
    Shrink(),
    Shrink(strength=0.5, temperature=3.0),
    Svm(),
    Svm(C=10.0, normalize=False, scale=2.0),
    Svm(form="one_vs_rest", C=1.0),
    Text(),
    TextPrior(),
    TextPrior(penalty="loo"),
    TextPrior(form="cache", temperature=20.0),
    TextProbe(steps=40),  # over the 300 steps of its default, rounding can grow to the size of answers where D is 2
    TextProbe(anchor=0.3, scale=20.0, steps=9),
    TipAdapter(),
    TipAdapter(alpha=0.5, beta=2.0),
    Additive(outputs=(4, 2), width=5, depth=2),
    Additive(outputs=(4, 2), descriptors=((0.5, 1.0, -1.0), (0.0, 2.0, 1.0))),
    CrossStitch(outputs=(4, 2), width=5, depth=2),
    Film(outputs=(4, 2), width=5, depth=2),
    Film(outputs=(4, 2), activation="gelu", descriptors=((0.5, 1.0, -1.0), (0.0, 2.0, 1.0))),
    Gating(outputs=(4, 2), width=5, depth=2),
    Independent(outputs=(4, 2), width=5, depth=2),
    Mmoe(outputs=(4, 2), width=5, experts=3, dropout=0.3),
    Mmoe(outputs=(4, 2), width=5, depth=2, tower=3, activation="gelu"),
    Mtan(outputs=(4, 2), width=5, depth=2),
    SharedBottom(outputs=(6,), width=5),
    SharedBottom(outputs=(4, 2), width=5, depth=2, tower=3),
    TaskQueries(outputs=(4, 2), width=6, depth=2, tokens=3, attention_heads=2),
)
WORDS = {head.__name__: head for head in (*HEADS, *SHARING)}
each_head = pytest.mark.parametrize("head", CASES, ids=lambda head: text(head).replace("name='head'", ""))
TIGHT = {"rtol": 1e-7, "atol": 1e-7}  # float64; the iterative solvers stop at 1e-9 and 1e-12 of their own measures


def parts_of(head: Any) -> int:
    """How many parts of one width a head reads its features as."""
    return len(head.heads) if isinstance(head, Ensemble) else 1


def test_every_head_is_a_case() -> None:
    assert {type(case) for case in CASES} == {*HEADS, *SHARING}


@each_head
def test_what_others_run_on_their_heads_holds_for_ours(head: Any) -> None:
    check_head(head)


@each_head
def test_a_head_is_its_text(head: Any) -> None:
    assert parse(text(head), WORDS) == head
    assert parse(type(head).__name__, WORDS) == type(head)()


@each_head
def test_declared_names_begin_with_the_head_s_name(head: Any) -> None:
    renamed = type(head)(**{f.name: getattr(head, f.name) for f in fields(head)} | {"name": "source"})
    declared = renamed.declare(6, NAMES)
    assert all(key.startswith("source.") for key in (*declared, *renamed.own))
    assert len(declared) == len(head.declare(6, NAMES)) and len(renamed.own) == len(head.own)
    assert all(stored(renamed, key).startswith("source.") for key in declared)
    if (isinstance(head, Linear) and head.start == "random") or isinstance(head, Sharing):
        return  # its weights are drawn by its name
    support, query, episodes, vectors = problem(0)
    torch.testing.assert_close(answers(renamed, support, query, episodes, vectors), answers(head, support, query, episodes, vectors))


@each_head
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), shots=st.lists(st.integers(1, 5), min_size=2, max_size=5), D=st.integers(2, 30))
def test_a_batch_is_its_episodes_one_at_a_time(head: Any, seed: int, shots: list[int], D: int) -> None:
    support, query, episodes, vectors = problem(seed, E=4, K=len(shots), shots=tuple(shots), D=D * parts_of(head))
    together = answers(head, support, query, episodes, vectors)
    alone = [answers(head, support[i : i + 1], query[i : i + 1], episodes[i : i + 1], vectors[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), **TIGHT)


@each_head
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 4), classes=st.integers(0, 2), D=st.integers(2, 30))
def test_padding_changes_nothing(head: Any, seed: int, rows: int, classes: int, D: int) -> None:
    support, query, episodes, vectors = problem(seed, D=D * parts_of(head))
    E, K = episodes.classes.shape
    plain = answers(head, support, query, episodes, vectors)
    padded = relabelled(
        episodes,
        support=torch.cat([episodes.support, torch.full((E, rows), -1)], 1),
        support_label=torch.cat([episodes.support_label, torch.full((E, rows), -1)], 1),
        classes=torch.cat([episodes.classes, torch.full((E, classes), -1)], 1),
    )
    noise = torch.full((E, rows, support.shape[-1]), 1e6, dtype=support.dtype)  # whatever stands in padded rows must not be seen
    widened = torch.cat([vectors, torch.zeros(E, classes, support.shape[-1], dtype=vectors.dtype)], 1)
    logits = answers(head, torch.cat([support, noise], 1), query, padded, widened)
    torch.testing.assert_close(logits[..., :K], plain, **TIGHT)
    assert bool((logits[..., K:] == -torch.inf).all())


@each_head
def test_permuting_classes_permutes_logits(head: Any) -> None:
    support, query, episodes, vectors = problem(1)
    order = torch.tensor([2, 0, 3, 1])
    places = torch.empty_like(episodes.classes)
    places[:, order] = episodes.classes
    swapped = relabelled(episodes, support_label=order[episodes.support_label], classes=places)
    moved = torch.empty_like(vectors)
    moved[:, order] = vectors
    torch.testing.assert_close(
        answers(head, support, query, swapped, moved)[..., order], answers(head, support, query, episodes, vectors), **TIGHT
    )


@each_head
def test_the_order_of_the_support_is_irrelevant(head: Any) -> None:
    support, query, episodes, vectors = problem(2)
    support[:, 1] = support[:, 5]  # also where two classes share a row
    order = torch.randperm(support.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = relabelled(episodes, support_label=episodes.support_label[:, order])
    torch.testing.assert_close(
        answers(head, support[:, order], query, shuffled, vectors), answers(head, support, query, episodes, vectors), **TIGHT
    )


@each_head
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_dtype_and_device_are_kept(head: Any, dtype: torch.dtype) -> None:
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        support, query, episodes, vectors = (part.to(device) for part in problem(3, dtype=dtype))
        logits = answers(head, support, query, episodes, vectors)
        assert logits.dtype == dtype
        assert logits.device.type == device
        assert bool(logits.isfinite().all())


@each_head
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_lower_precision_answers_as_float64_does_on_the_same_numbers(head: Any, dtype: torch.dtype) -> None:
    support, query, episodes, vectors = problem(4, dtype=dtype)
    low = answers(head, support, query, episodes, vectors).double()
    high = answers(head, support.double(), query.double(), episodes, vectors.double())
    # only the last rounding is in half precision; float32 products lose digits in proportion to the largest logit
    tolerance = {torch.float16: 2e-3, torch.float32: 2e-5}[dtype]
    assert float((low - high).abs().max()) <= tolerance * float(high.abs().max())


@each_head
def test_gradients_are_right(head: Any) -> None:
    assert head.differentiable  # no head declares an exception
    support, query, episodes, vectors = problem(5, E=2, K=3, shots=(2, 1, 2), Q=2, D=4)
    episodes.support_label[1, -1] = -1
    episodes = relabelled(episodes, support=torch.where(episodes.support_label < 0, -1, episodes.support))
    declared = begun(head, support[:1], episodes[:1], vectors[:1])
    parameters = {key: value.detach().double().requires_grad_() for key, value in declared.items() if value.is_floating_point()}
    marks = {key: value for key, value in declared.items() if not value.is_floating_point()}

    def logits(s: Tensor, q: Tensor, v: Tensor, *values: Tensor) -> Tensor:
        return answer(head, s, q, episodes, v, {**marks, **dict(zip(parameters, values, strict=True))})

    inputs = [support.requires_grad_(), query.requires_grad_(), vectors.requires_grad_(), *parameters.values()]
    # a solver's last digits become noise in a difference quotient, hence the wider step; fast mode projects onto random directions
    step = 1e-5 if isinstance(head, Blend | Laplace | Logistic | NamedLogistic | Svm) else 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(2):
            assert torch.autograd.gradcheck(logits, inputs, eps=step, atol=1e-5, rtol=1e-4, fast_mode=True)


@each_head
def test_the_state_alone_answers_and_is_cut_by_episode(head: Any) -> None:
    support, query, episodes, vectors = problem(6)
    declared = begun(head, support[:1], episodes[:1], vectors[:1])
    parameters = {key: value.double() for key, value in declared.items()}
    state = head.fit(support, episodes, vectors, parameters)
    assert all(len(value) == len(episodes) for value in state.values())
    cut = {key: value[1:].clone() for key, value in state.items()}
    expected = answer(head, support, query, episodes, vectors, parameters)
    torch.testing.assert_close(head.score(cut, query[1:], parameters), expected[1:], **TIGHT)


@each_head
@pytest.mark.parametrize("kind", ["identical rows", "zero", "huge", "tiny", "one row a class", "one class", "duplicates"])
def test_extreme_inputs_give_finite_logits(head: Any, kind: str) -> None:
    support, query, episodes, vectors = problem(7, dtype=torch.float32)
    match kind:
        case "identical rows":
            support[:] = support[:, :1].clone()
        case "zero":
            support[:], query[:, 0] = 0.0, 0.0
        case "huge":
            support, query = support * 1e8, query * 1e8
        case "tiny":
            support, query = support * 1e-15, query * 1e-15
        case "one row a class":
            support, query, episodes, vectors = problem(7, shots=(1, 1, 1, 1), dtype=torch.float32)
        case "one class":
            episodes = relabelled(episodes, support_label=torch.full_like(episodes.support_label, 2))
        case "duplicates":
            support[:, 1:] = support[:, :1] + 1e-7 * support[:, 1:]
    assert bool(answers(head, support, query, episodes, vectors).isfinite().all())


@each_head
def test_a_class_without_support_leaves_the_others_alone(head: Any) -> None:
    support, query, episodes, vectors = problem(8)
    lacking = relabelled(episodes, support_label=torch.where(episodes.support_label == 3, 2, episodes.support_label))
    logits = answers(head, support, query, lacking, vectors)
    assert bool(logits.isfinite().all())
    if isinstance(head, NamedLogistic) or any(isinstance(one, NamedLogistic) for one in getattr(head, "heads", ())):
        return  # the name of a class without support is an example all the same
    narrow = answers(head, support, query, relabelled(lacking, classes=lacking.classes[:, :3]), vectors[:, :3])
    torch.testing.assert_close(logits[..., :3], narrow, **TIGHT)
    if isinstance(head, Logistic | Svm | Matching) and not getattr(head, "neighbours", 0):
        assert bool((logits.argmax(-1) != 3).all())


@each_head
def test_an_episode_without_any_support_is_answered(head: Any) -> None:
    support, query, episodes, vectors = problem(9)
    empty = relabelled(episodes, support=torch.full_like(episodes.support, -1), support_label=torch.full_like(episodes.support_label, -1))
    assert bool(answers(head, support, query, empty, vectors).isfinite().all())


def test_a_linear_head_that_begins_at_class_means_is_the_nearest_of_them() -> None:
    """W = 2 p, b = -|p|^2: the squared distance to the mean of unit features, but for a term that all classes share."""
    support, query, episodes, _ = problem(3)
    units = torch.nn.functional.normalize(support, dim=-1)
    for e in range(3):
        means = torch.stack([units[e][episodes.support_label[e] == k].mean(0) for k in range(4)])
        squares = torch.cdist(query[e], means) ** 2
        found = answers(Linear(start="centroid"), support, query, episodes)[e]
        torch.testing.assert_close(found, query[e].square().sum(-1, keepdim=True) - squares, **TIGHT)


def test_a_class_table_answers_by_the_rows_of_an_episode_s_classes() -> None:
    support, query, episodes, _ = problem(3)
    mixed = relabelled(episodes, classes=torch.tensor([[5, 0, 3, 1], [2, 3, 4, 5], [1, 1, 0, 2]]))
    given = {n: t.double() for n, t in Linear(rows="class", start="random").declare(6, NAMES).items()}
    found = answer(Linear(rows="class", start="random"), support, query, mixed, None, given)
    for e in range(3):
        weight, bias = (given[f"head.{part}"][mixed.classes[e]] for part in ("weight", "bias"))
        torch.testing.assert_close(found[e], query[e] @ weight.T + bias, **TIGHT)


def test_a_gaussian_is_discriminant_analysis_with_a_shrunk_covariance() -> None:
    """By the D x D inverse, an episode at a time, and by scikit-learn where it is given the same covariance."""
    support, query, episodes, _ = problem(3)
    units, asked = torch.nn.functional.normalize(support, dim=-1).numpy(), torch.nn.functional.normalize(query, dim=-1).numpy()
    found = answers(Gaussian(scale=0.5), support, query, episodes).numpy()
    for e, label in enumerate(episodes.support_label.numpy()):
        means = np.stack([units[e][label == k].mean(0) for k in range(4)])
        rest = units[e] - means[label]
        n, width = rest.shape
        covariance = rest.T @ rest / (n - 4)
        shrunk = ((n - 4) * covariance + np.trace(covariance) * np.eye(width)) / (n - 4 + width)
        precise = means @ np.linalg.inv(shrunk)
        np.testing.assert_allclose(found[e], 0.5 * (asked[e] @ precise.T - 0.5 * (precise * means).sum(1)), rtol=1e-9, atol=1e-9)
        judged = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given(shrunk), priors=[0.25] * 4).fit(units[e], label)
        np.testing.assert_array_equal(found[e].argmax(1), judged.predict(asked[e]))


class Given:
    """A covariance estimator that is told the answer. scikit-learn asks each class and weighs by the priors, which add to 1."""

    def __init__(self, covariance: np.ndarray) -> None:
        self.covariance_ = covariance

    def fit(self, _: np.ndarray) -> Given:
        return self


def test_a_gaussian_of_one_row_a_class_is_the_nearest_row() -> None:
    support, query, episodes, _ = problem(4, shots=(1, 1, 1, 1))
    units, asked = (torch.nn.functional.normalize(x, dim=-1) for x in (support, query))
    found = answers(Gaussian(scale=0.5), support, query, episodes)
    assert torch.equal(found.argmax(-1), torch.cdist(asked, units).argmin(-1))
    torch.testing.assert_close(found, 0.5 * (asked @ units.mT - units.square().sum(-1)[:, None, :] / 2), **TIGHT)


def test_a_class_name_counts_as_so_many_examples() -> None:
    support, query, episodes, vectors = problem(5)
    units, asked, named = (torch.nn.functional.normalize(x, dim=-1).numpy() for x in (support, query, vectors))
    found = answers(NamedLogistic(C=2.0, names=3), support, query, episodes, vectors).softmax(-1).numpy()
    for e, label in enumerate(episodes.support_label.numpy()):
        rows, classes = np.concatenate([units[e], *[named[e]] * 3]), np.concatenate([label, *[np.arange(4)] * 3])
        judged = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(rows, classes)
        np.testing.assert_allclose(found[e], judged.predict_proba(asked[e]), atol=1e-5)


def test_a_class_without_examples_is_answered_by_its_name() -> None:
    support, _, episodes, vectors = problem(6)
    lacking = relabelled(episodes, support_label=torch.where(episodes.support_label == 3, 2, episodes.support_label))
    assert (answers(NamedLogistic(C=100.0), support, vectors, lacking, vectors).argmax(-1)[:, 3] == 3).all()


def test_shrink_is_the_class_sum_and_so_many_class_names() -> None:
    support, query, episodes, vectors = problem(5)
    units, asked, named = (torch.nn.functional.normalize(x, dim=-1) for x in (support, query, vectors))
    members = torch.nn.functional.one_hot(episodes.support_label, 4).double()
    means = torch.nn.functional.normalize(members.mT @ units + 3.0 * named, dim=-1)
    found = answers(Shrink(strength=3.0, temperature=7.0), support, query, episodes, vectors)
    torch.testing.assert_close(found, 7.0 * asked @ means.mT, **TIGHT)
    weak, strong = (answers(Shrink(strength=k), support, query, episodes, vectors) for k in (1e-9, 1e9))
    torch.testing.assert_close(weak, answers(Centroid(), support, query, episodes), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(strong, answers(Text(temperature=10.0), support, query, episodes, vectors), rtol=1e-6, atol=1e-6)


def left_out(support: Tensor, label: Tensor, names: Tensor, strength: float, temperature: float) -> float:
    """The log-loss of the rows of an episode, each answered by a head that is fitted anew without it; and what the prior adds."""
    total = 0.5 * (np.log(strength / 2.0) / 0.7) ** 2
    for i in range(len(label)):
        kept = torch.arange(len(label)) != i
        if (label[kept] == label[i]).any():
            _, _, one, _ = problem(0, E=1, shots=(int(kept.sum()),), K=1)
            one = relabelled(one, support_label=label[kept][None], classes=torch.arange(4)[None])
            head = Shrink(strength=strength, temperature=temperature)
            logits = answers(head, support[kept][None], support[i][None, None], one, names[None])[0, 0]
            total -= float(logits[label.unique()].log_softmax(0)[(label.unique() == label[i]).nonzero()[0, 0]])
    return total


@pytest.mark.parametrize("temperature", [2.0, 10.0, 60.0])
def test_the_strength_of_class_names_has_the_least_loss_when_each_row_is_left_out(temperature: float) -> None:
    support, query, episodes, vectors = problem(21, shots=(1, 3, 5, 4))
    support[0] = support[0] + 4.0 * vectors[0][episodes.support_label[0]]  # names that say much
    vectors[1] = vectors[1].flip(0)  # names that mislead
    found = answers(Shrink(temperature=temperature), support, query, episodes, vectors)
    taken = []
    for e in range(3):
        losses = [left_out(support[e], episodes.support_label[e], vectors[e], k, temperature) for k in GRID]
        taken.append(GRID[int(np.argmin(losses))])
        mine = answers(
            Shrink(strength=taken[-1], temperature=temperature),
            support[e : e + 1],
            query[e : e + 1],
            episodes[e : e + 1],
            vectors[e : e + 1],
        )
        torch.testing.assert_close(found[e : e + 1], mine, **TIGHT)
    assert taken[0] > taken[1]


def test_where_no_class_has_two_rows_a_name_is_worth_the_usual_number_of_examples() -> None:
    support, query, episodes, vectors = problem(22, shots=(1, 1, 1, 1))
    torch.testing.assert_close(
        answers(Shrink(), support, query, episodes, vectors), answers(Shrink(strength=USUAL), support, query, episodes, vectors), **TIGHT
    )


def test_a_blend_is_the_mean_of_log_probabilities() -> None:
    support, query, episodes, _ = problem(7)
    heads, temperatures = (Centroid(), Ridge(scale=3.0), Gaussian()), (0.5, 2.0, 0.1)
    parts = [(answers(h, support, query, episodes) / t).log_softmax(-1) for h, t in zip(heads, temperatures, strict=True)]
    found = answers(Blend(heads=heads, temperatures=temperatures), support, query, episodes)
    torch.testing.assert_close(found.softmax(-1), torch.stack(parts).mean(0).softmax(-1), **TIGHT)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Centroid(metric="manhattan"), "'cosine' or 'euclidean'"),  # type: ignore[arg-type]
        (lambda: Linear(start="ones"), "unknown rows"),  # type: ignore[arg-type]
        (lambda: Linear(rows="class", start="centroid"), "a class table starts at zeros or random"),
        (lambda: answer(Linear(), *problem(0)[:3]), "nothing has trained 'head.weight'"),
        (lambda: answer(Linear(rows="class"), *problem(0)[:3]), "nothing has trained 'head.weight'"),
        (lambda: answer(Linear(ways=3), *problem(0)[:3]), "a head of 3 places was trained, but the episodes have 4 ways"),
        (lambda: Logistic(C=0.0), "C must be a positive number"),
        (lambda: Logistic(C="cv"), "'loo'"),  # type: ignore[arg-type]
        (lambda: Blend(heads=()), "at least one head"),
        (lambda: Blend(heads=(Text(),)), "Text cannot be blended"),
        (lambda: Blend(temperatures=(1.0, 2.0)), "expected 3 temperatures"),
        (lambda: Blend(temperatures=(1.0, 0.0, 2.0)), "temperatures above 0"),
        (lambda: Gaussian(scale=0.0), "scale must be a positive number"),
        (lambda: NamedLogistic(names=0), "whole number of examples"),
        (lambda: NamedLogistic(C=-1.0), "C must be a positive number"),
        (lambda: Matching(neighbours=-1), "neighbours must be 0"),
        (lambda: Ridge(penalty=0.0), "penalty must be a positive number"),
        (lambda: Ridge(penalty=float("inf")), "penalty must be a positive number"),  # its logits would be no numbers
        (lambda: Ridge(penalty="cv"), "'loo'"),  # type: ignore[arg-type]
        (lambda: Shrink(strength=0.0), "strength must be a positive number"),
        (lambda: Shrink(strength="cv"), "'loo'"),  # type: ignore[arg-type]
        (lambda: Svm(form="pairs"), "crammer_singer"),  # type: ignore[arg-type]
        (lambda: Svm(C=float("inf")), "C must be a positive number"),
        (lambda: answer(Svm(), *problem(0, E=1, K=2, shots=(9000, 9000), Q=1, D=2)[:3]), "14 GiB for 18000 support rows of 2 classes"),
        (lambda: Text(prompts=()), "at least one prompt"),
        (lambda: Text(prompts=("a photo",)), "one {} for the class name"),
        (lambda: TextPrior(form="both"), "'ridge' or 'cache'"),  # type: ignore[arg-type]
        (lambda: TextPrior(penalty=-1.0), "penalty must be a positive number"),
        (lambda: TextPrior(penalty="cv"), "'loo'"),  # type: ignore[arg-type]
        (lambda: answer(Text(), *problem(0)[:3]), "no label side"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(wrong: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # in tests it would refuse wrong types first, in its own words
    with pytest.raises(InputError, match=said.replace("{", r"\{")) as error:
        wrong()
    assert "\n" not in str(error.value)
