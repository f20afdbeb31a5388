"""Laws that every loss obeys, and each loss against torch or its formula written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.parts.losses import (
    LOSSES,
    Anchor,
    AtMost,
    BinaryCrossEntropy,
    ByKind,
    ClassAnchor,
    Contrast,
    CrossEntropy,
    Displacement,
    Distil,
    Entropy,
    Loss,
    NtXent,
    OneNegative,
    Outcome,
    Population,
    SigmoidContrast,
    SoftSharing,
    SquaredError,
    SupervisedContrast,
    TaskRelation,
)
from fewtune.spec import parse, text
from fewtune.tasks.episodes import Episodes

CASES = (
    Anchor(strength=2.0),
    Anchor(strength=0.3, stop=False),
    Anchor(strength=2.0, by_shots=True),
    AtMost(loss=SupervisedContrast(), most=0.5),
    AtMost(loss=CrossEntropy(), most=-1.0, start=2.0),
    BinaryCrossEntropy(),
    ByKind(),
    ClassAnchor(strength=2.0),
    ClassAnchor(strength=0.7, agreement=False),
    Contrast(),
    Contrast(temperature=7.0),
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.2),
    Displacement(strength=1.5),
    Distil(temperature=3.0, weight=0.5),
    Entropy(weight=0.7),
    NtXent(),
    NtXent(temperature=0.1),
    OneNegative(),
    Population(),
    Population(temperature=2.0),
    SigmoidContrast(),
    SoftSharing(strength=0.7),
    SoftSharing(strength=0.7, squared=True),
    SquaredError(),
    SupervisedContrast(),
    SupervisedContrast(temperature=0.5),
    TaskRelation(strength=0.7),
    TaskRelation(strength=0.7, modes="all"),
)
WORDS = {loss.__name__: loss for loss in LOSSES}
each_loss = pytest.mark.parametrize("loss", CASES, ids=text)
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def drawn(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def outcome_for(loss: Any, seed: int = 0, E: int = 3, Q: int = 4, K: int = 3, D: int = 5) -> Outcome:
    """An outcome with everything in it and the labels that the loss wants, some of them missing."""
    g = torch.Generator().manual_seed(seed)
    if isinstance(loss, SquaredError):
        label = drawn(g, E, Q, K)
        label[0, 0, 1] = torch.nan
    elif isinstance(loss, ByKind):
        label = torch.stack(
            [functional.one_hot(torch.randint(0, K, (Q,), generator=g), K).double(), drawn(g, Q, K), torch.eye(Q, K).double()]
        )
        label = label[torch.arange(E) % 3]
        label[0, 1], label[1, 0, 1] = torch.nan, torch.nan
    elif isinstance(loss, BinaryCrossEntropy):
        label = torch.randint(0, 2, (E, Q, K), generator=g)
        label[0, 0, 1] = -1
    else:
        label = torch.randint(0, K, (E, Q), generator=g)
        label[0, 1] = -1
    heads = {"head.weight": drawn(g, K, D)} if isinstance(loss, ClassAnchor) else {}
    multipliers = {"multipliers.constraint": drawn(g, E)} if isinstance(loss, AtMost) else {}
    moved = {"a": drawn(g, E, 2, 3), "b": drawn(g, E, 4), "head": drawn(g, E, 2)} | {n: drawn(g, E, *t.shape) for n, t in heads.items()}
    rows = torch.arange(Q).expand(E, Q).clone()
    if isinstance(loss, NtXent | OneNegative | Population):  # views: every second row is the one before it
        rows = rows // 2
    none = torch.zeros(E, 0, dtype=torch.long)
    kind = torch.arange(E) % 3 if isinstance(loss, ByKind) else None
    episodes = Episodes(none, label[:, :0], rows, label, torch.arange(K).expand(E, K).clone(), torch.zeros(E, dtype=torch.long), kind)
    return Outcome(
        logits=drawn(g, E, Q, K) * 3,
        episodes=episodes,
        query=drawn(g, E, Q, D),
        class_vectors=drawn(g, E, K, D),
        shared={"a": drawn(g, 2, 3), "b": drawn(g, 4), "unmoved": drawn(g, 2), **heads},
        own=of_two_tasks(g, E) if isinstance(loss, SoftSharing | TaskRelation) else {**moved, **multipliers},
        teacher=drawn(g, E, Q, K),
    )


def of_two_tasks(g: torch.Generator, E: int) -> dict[str, Tensor]:
    """The weights of a trunk and a tower for each of two tasks."""
    parts = {"trunk.0.weight": (2, 3, 4), "trunk.0.bias": (2, 3), "tower.weight": (2, 4, 3), "out.weight": (3, 4)}
    return {f"head.{part}": drawn(g, E, *shape) for part, shape in parts.items()}


def floats(outcome: Outcome) -> dict[str, Tensor]:
    """Every float tensor of an outcome by name."""
    plain = {n: getattr(outcome, n) for n in ("logits", "query", "class_vectors", "teacher")}
    return plain | {f"shared {n}": t for n, t in outcome.shared.items()} | {f"own {n}": t for n, t in outcome.own.items()}


def with_floats(outcome: Outcome, tensors: dict[str, Tensor], episodes: Episodes | None = None) -> Outcome:
    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    plain: dict[str, Any] = {n: t for n, t in tensors.items() if " " not in n}
    return replace(outcome, **plain, shared=part("shared "), own=part("own "), episodes=episodes or outcome.episodes)


def taken(outcome: Outcome, index: slice) -> Outcome:
    """Some of the episodes."""
    tensors = {n: t if n.startswith("shared ") else t[index] for n, t in floats(outcome).items()}
    return with_floats(outcome, tensors, outcome.episodes[index])


def padded(outcome: Outcome, rows: int, classes: int, filler: float) -> Outcome:
    """The same episodes with rows and classes of padding, in which `filler` stands."""
    episodes = outcome.episodes

    def wider(t: Tensor, dim: int, by: int, value: float) -> Tensor:
        shape = list(t.shape)
        shape[dim] = by
        return torch.cat([t, t.new_full(shape, value)], dim)

    label = wider(episodes.query_label, 1, rows, torch.nan if episodes.query_label.is_floating_point() else -1)
    targets = label.ndim == 3
    if targets:
        classes = 0
    more = replace(episodes, query=wider(episodes.query, 1, rows, -1), query_label=label, classes=wider(episodes.classes, 1, classes, -1))
    assert outcome.query is not None and outcome.class_vectors is not None and outcome.teacher is not None
    return replace(
        outcome,
        episodes=more,
        logits=wider(wider(outcome.logits, 1, rows, filler), 2, classes, -torch.inf),
        teacher=wider(wider(outcome.teacher, 1, rows, filler), 2, classes, -torch.inf),
        query=wider(outcome.query, 1, rows, 0.0),
        class_vectors=wider(outcome.class_vectors, 1, classes, 0.0),
    )


@pytest.mark.parametrize("loss", [Anchor(strength=3.0), Displacement(strength=3.0)], ids=text)
def test_distances_count_numbers_that_stand_alone(loss: Anchor | Displacement) -> None:
    """A weight without axes, such as CLIP's temperature: one number an episode."""
    own = {"scale": torch.tensor([1.0, 4.0]), "w": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}
    outcome = replace(outcome_for(loss), own=own, shared={"scale": torch.tensor(2.0), "w": torch.tensor([0.0, 0.0])})
    assert loss(outcome).tolist() == [1.5 * (1 + 5), 1.5 * 4]
    assert loss(replace(outcome, own={"scale": own["scale"]})).tolist() == [1.5, 6.0]


def gradients(loss: Loss, outcome: Outcome) -> dict[str, Tensor]:
    tensors = {n: t.clone().requires_grad_() for n, t in floats(outcome).items()}
    total = loss(with_floats(outcome, tensors)).sum()
    found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    return {n: g for n, g in zip(tensors, found, strict=True) if g is not None}


def test_every_loss_is_a_case() -> None:
    assert {type(case) for case in CASES} == set(LOSSES)
    assert all(isinstance(case, Loss) for case in CASES)


@each_loss
def test_a_loss_is_its_text(loss: Any) -> None:
    assert parse(text(loss), WORDS) == loss
    assert parse(type(loss).__name__, WORDS) == type(loss)()


@each_loss
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), Q=st.integers(2, 6), K=st.integers(2, 5))
def test_a_batch_is_its_episodes_one_at_a_time(loss: Any, seed: int, Q: int, K: int) -> None:
    outcome = outcome_for(loss, seed, E=4, Q=Q, K=K)
    alone = [loss(taken(outcome, slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(loss(outcome), torch.cat(alone), **TIGHT)


@each_loss
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(0, 3), classes=st.integers(0, 2), filler=st.sampled_from([0.0, 1e6, math.nan, -math.inf])
)
def test_padding_changes_nothing(loss: Any, seed: int, rows: int, classes: int, filler: float) -> None:
    outcome = outcome_for(loss, seed)
    wide = padded(outcome, rows, classes, filler)
    torch.testing.assert_close(loss(wide), loss(outcome), **TIGHT)
    plain = gradients(loss, outcome)
    for name, found in gradients(loss, wide).items():
        inside = found[tuple(slice(n) for n in plain[name].shape)]
        torch.testing.assert_close(inside, plain[name], **TIGHT)
        assert bool(found.isfinite().all()) and found.count_nonzero() == inside.count_nonzero()  # nothing is sent to padding


@each_loss
def test_gradients_and_their_gradients_are_those_of_central_differences(loss: Any) -> None:
    outcome = padded(outcome_for(loss), 1, 1, 0.5)
    constants: dict[str, Any] = {"Anchor": "shared ", "Displacement": "own ", "Distil": "teacher", "ClassAnchor": ("shared ", "teacher")}
    constant = constants.get(type(loss).__name__, "none")
    if isinstance(loss, Anchor) and not loss.stop:
        constant = "none"
    if isinstance(loss, TaskRelation) and loss.modes == "all":
        pytest.skip("two of its three covariances are constants; see test_sharing_losses.py")
    fixed = floats(outcome)
    moving = [n for n in gradients(loss, outcome) if not n.startswith(constant)]
    assert moving

    def of(*tensors: Tensor) -> Tensor:
        return loss(with_floats(outcome, fixed | dict(zip(moving, tensors, strict=True))))

    inputs = tuple((fixed[n] if n != "logits" else fixed[n].clamp_min(-9)).clone().requires_grad_() for n in moving)
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


@each_loss
def test_an_episode_without_anything_to_score_costs_nothing(loss: Any) -> None:
    if isinstance(loss, Anchor | Displacement | SoftSharing | TaskRelation) or loss == ClassAnchor(strength=0.7, agreement=False):
        pytest.skip("it is a loss on weights and reads no query")
    outcome = outcome_for(loss)
    label = outcome.episodes.query_label.clone()
    label[1] = torch.nan if label.is_floating_point() else -1
    query = outcome.episodes.query.clone()
    query[1] = -1
    cost = loss(replace(outcome, episodes=replace(outcome.episodes, query_label=label, query=query)))
    assert cost[1] == 0 and bool(cost.isfinite().all()) and cost[2] == loss(outcome)[2]
    assert all(
        bool(g.isfinite().all()) for g in gradients(loss, replace(outcome, episodes=replace(outcome.episodes, query_label=label))).values()
    )


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precisions_are_summed_in_float32(loss: Any, dtype: torch.dtype) -> None:
    outcome = outcome_for(loss)
    cost = loss(with_floats(outcome, {n: t.to(dtype) for n, t in floats(outcome).items()}))
    assert cost.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    rounded = loss(with_floats(outcome, {n: t.to(dtype).double() for n, t in floats(outcome).items()}))
    torch.testing.assert_close(cost.double(), rounded, rtol=2e-6, atol=2e-6)


@each_loss
def test_extreme_logits_stay_finite(loss: Any) -> None:
    outcome = outcome_for(loss)
    far = replace(outcome, logits=outcome.logits * 1e4, teacher=None if outcome.teacher is None else outcome.teacher * -1e4)
    assert bool(loss(far).isfinite().all())
    assert all(bool(g.isfinite().all()) for g in gradients(loss, far).values())


def test_cross_entropy_is_that_of_torch() -> None:
    for smoothing in (0.0, 0.1, 0.7):
        loss = CrossEntropy(label_smoothing=smoothing)
        outcome = outcome_for(loss, E=4, Q=6, K=5)
        for e in range(4):
            theirs = functional.cross_entropy(
                outcome.logits[e], outcome.episodes.query_label[e], ignore_index=-1, label_smoothing=smoothing
            )
            torch.testing.assert_close(loss(outcome)[e], theirs, **TIGHT)


def test_binary_cross_entropy_is_that_of_torch() -> None:
    outcome = outcome_for(BinaryCrossEntropy())
    label = outcome.episodes.query_label
    theirs = [
        functional.binary_cross_entropy_with_logits(outcome.logits[e][label[e] >= 0], label[e][label[e] >= 0].double()) for e in range(3)
    ]
    torch.testing.assert_close(BinaryCrossEntropy()(outcome), torch.stack(theirs), **TIGHT)


def test_squared_error_is_that_of_torch() -> None:
    outcome = outcome_for(SquaredError())
    label = outcome.episodes.query_label
    theirs = [functional.mse_loss(outcome.logits[e][~label[e].isnan()], label[e][~label[e].isnan()]) for e in range(3)]
    torch.testing.assert_close(SquaredError()(outcome), torch.stack(theirs), **TIGHT)


def test_distil_is_the_divergence_of_torch() -> None:
    outcome, T = outcome_for(Distil()), 4.0
    assert outcome.teacher is not None
    for e in range(3):
        student, teacher = (torch.log_softmax(z[e] / T, -1) for z in (outcome.logits, outcome.teacher))
        theirs = T**2 * functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
        torch.testing.assert_close(Distil(temperature=T)(outcome)[e], theirs, **TIGHT)
    assert Distil()(replace(outcome, teacher=outcome.logits)).abs().max() == 0


def test_the_size_of_distil_s_gradient_stays_when_the_temperature_rises() -> None:
    """For a high T it tends to (z - t) / K a row, z and t the centred logits of student and teacher (Hinton et al., equation 4)."""
    outcome = outcome_for(Distil())
    assert outcome.teacher is not None
    found = gradients(Distil(temperature=1e4), outcome)["logits"]
    difference = outcome.logits - outcome.teacher
    expected = (difference - difference.mean(-1, keepdim=True)) / 3 / 4
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


def test_entropy_is_that_of_a_distribution() -> None:
    outcome = outcome_for(Entropy())
    theirs = torch.distributions.Categorical(logits=outcome.logits).entropy().mean(1)
    torch.testing.assert_close(Entropy()(outcome), theirs, **TIGHT)
    even = replace(outcome, logits=torch.zeros_like(outcome.logits))
    torch.testing.assert_close(Entropy(weight=2.0)(even), torch.full((3,), 2 * math.log(3), dtype=torch.float64), **TIGHT)


def pairs(seed: int = 0, E: int = 2, B: int = 5, D: int = 6) -> Outcome:
    g = torch.Generator().manual_seed(seed)
    none, rows = torch.zeros(E, 0, dtype=torch.long), torch.arange(B).expand(E, B).clone()
    episodes = Episodes(none, none, rows, rows, rows, torch.zeros(E, dtype=torch.long))
    return Outcome(logits=drawn(g, E, B, B), episodes=episodes, query=drawn(g, E, B, D), class_vectors=drawn(g, E, B, D))


def test_contrast_of_pairs_is_clip_s_loss() -> None:
    outcome, T = pairs(), 14.3
    assert outcome.query is not None and outcome.class_vectors is not None
    for e in range(2):
        images, texts = functional.normalize(outcome.query[e], dim=-1), functional.normalize(outcome.class_vectors[e], dim=-1)
        z, own = T * images @ texts.T, torch.arange(5)
        theirs = (functional.cross_entropy(z, own) + functional.cross_entropy(z.T, own)) / 2
        torch.testing.assert_close(Contrast(temperature=T)(outcome)[e], theirs, **TIGHT)
    z = outcome.logits[0]
    theirs = (functional.cross_entropy(z, torch.arange(5)) + functional.cross_entropy(z.T, torch.arange(5))) / 2
    torch.testing.assert_close(Contrast()(outcome)[0], theirs, **TIGHT)


def test_contrast_with_several_rows_of_a_text_averages_over_them() -> None:
    label = torch.tensor([[0, 0, 2, -1]])
    outcome = outcome_for(Contrast(), E=1)
    outcome = replace(outcome, episodes=replace(outcome.episodes, query_label=label))
    z = outcome.logits[0]
    rows, columns = torch.log_softmax(z, 1), torch.log_softmax(z[:3], 0)  # the unlabelled row is no candidate
    to_text = -(rows[0, 0] + rows[1, 0] + rows[2, 2]) / 3
    to_row = -((columns[0, 0] + columns[1, 0]) / 2 + columns[2, 2]) / 2
    torch.testing.assert_close(Contrast()(outcome)[0], (to_text + to_row) / 2, **TIGHT)


def sigmoid_by_loops(z: list[list[float]], label: list[int]) -> float:
    """SigLIP, algorithm 1, pair by pair in plain Python; a label of -1 is no row."""
    known = [i for i, own in enumerate(label) if own >= 0]
    cost = sum(math.log1p(math.exp(-x if k == label[i] else x)) for i in known for k, x in enumerate(z[i]))
    return cost / len(known) if known else 0.0


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), Q=st.integers(1, 6), K=st.integers(2, 5))
def test_sigmoid_contrast_is_its_formula_pair_by_pair(seed: int, Q: int, K: int) -> None:
    outcome = outcome_for(SigmoidContrast(), seed, Q=max(Q, 2), K=K)
    theirs = [sigmoid_by_loops(outcome.logits[e].tolist(), outcome.episodes.query_label[e].tolist()) for e in range(3)]
    torch.testing.assert_close(SigmoidContrast()(outcome), torch.tensor(theirs, dtype=torch.float64), **TIGHT)


def test_sigmoid_contrast_of_pairs_begins_where_siglip_says() -> None:
    """B pairs at logits of 0 cost B log 2 a row; at its offset of -10 and cosines of 0, log(1 + e^10) + (B - 1) log(1 + e^-10)."""
    outcome = pairs(E=1, B=5)
    even = replace(outcome, logits=torch.zeros(1, 5, 5, dtype=torch.float64))
    assert SigmoidContrast()(even).item() == pytest.approx(5 * math.log(2))
    found = SigmoidContrast()(replace(outcome, logits=torch.full((1, 5, 5), -10.0, dtype=torch.float64)))
    assert found.item() == pytest.approx(math.log1p(math.exp(10)) + 4 * math.log1p(math.exp(-10)))


def contrast_by_loops(rows: list[list[float]], label: list[int], temperature: float) -> float:
    """Khosla et al., equation 2, row by row in plain Python; a label of -1 is no row."""
    known = [i for i, k in enumerate(label) if k >= 0]

    def cosine(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
        return dot / math.sqrt(sum(a * a for a in rows[i])) / math.sqrt(sum(b * b for b in rows[j]))

    costs = []
    for i in known:
        alike = [j for j in known if j != i and label[j] == label[i]]
        if not alike:
            continue
        whole = sum(math.exp(cosine(i, j) / temperature) for j in known if j != i)
        costs.append(sum(math.log(whole) - cosine(i, j) / temperature for j in alike) / len(alike))
    return sum(costs) / len(costs) if costs else 0.0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), Q=st.integers(2, 8), K=st.integers(2, 4), temperature=st.sampled_from([0.07, 0.1, 0.5, 2.0]))
def test_supervised_contrast_is_its_formula_row_by_row(seed: int, Q: int, K: int, temperature: float) -> None:
    """Also where a row is alone in its class, or a class has every row."""
    outcome = outcome_for(SupervisedContrast(), seed, Q=Q, K=K)
    assert outcome.query is not None
    found = SupervisedContrast(temperature=temperature)(outcome)
    theirs = [contrast_by_loops(outcome.query[e].tolist(), outcome.episodes.query_label[e].tolist(), temperature) for e in range(3)]
    torch.testing.assert_close(found, torch.tensor(theirs, dtype=torch.float64), **TIGHT)


def test_supervised_contrast_falls_as_classes_part_and_looks_at_directions_alone() -> None:
    label = torch.tensor([[0, 0, 1, 1]])
    outcome = outcome_for(SupervisedContrast(), E=1)
    outcome = replace(outcome, episodes=replace(outcome.episodes, query_label=label))
    apart, mixed = torch.eye(5).double()[[0, 0, 1, 1]][None], torch.eye(5).double()[[0, 1, 0, 1]][None]
    loss = SupervisedContrast(temperature=0.5)
    # the other of its class at cosine 1 (or 0), the two others at 0 (or 1 and 0)
    assert loss(replace(outcome, query=apart)).item() == pytest.approx(math.log(math.exp(2) + 2) - 2)
    assert loss(replace(outcome, query=mixed)).item() == pytest.approx(math.log(math.exp(2) + 2))
    assert outcome.query is not None
    longer = replace(outcome, query=outcome.query * torch.tensor([1.0, 3.0, 0.1, 20.0])[:, None])
    torch.testing.assert_close(loss(longer), loss(outcome), **TIGHT)


VIEWS = (NtXent, OneNegative, Population)


def views_by_loops(kind: type, vectors: list[list[float]], rows: list[int], temperature: float) -> float:
    """Each loss on views term by term in plain Python; a row of -1 is padding."""
    known = [i for i, row in enumerate(rows) if row >= 0]

    def z(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True))
        return dot / math.hypot(*vectors[i]) / math.hypot(*vectors[j]) / temperature

    def l_u(v: float) -> float:
        return math.log1p(math.exp(-v))

    costs = []
    for i in known:
        alike = [j for j in known if j != i and rows[j] == rows[i]]
        other = [j for j in known if rows[j] != rows[i]]
        if kind is NtXent and alike:
            whole = sum(math.exp(z(i, j)) for j in known if j != i)
            costs.append(sum(-math.log(math.exp(z(i, j)) / whole) for j in alike) / len(alike))
        elif alike and other and kind is OneNegative:
            near, far = (min(some, key=lambda j: (j - i) % len(rows)) for some in (alike, other))
            costs.append(l_u(z(i, near) - z(i, far)))
        elif alike and other and kind is Population:
            costs.append(sum(l_u(z(i, j) - z(i, k)) for j in alike for k in other) / len(alike) / len(other))
    return sum(costs) / len(costs) if costs else 0.0


def viewed(rows: list[int], vectors: Tensor) -> Outcome:
    """One episode of views [Q, D] of these rows."""
    outcome = outcome_for(NtXent(), E=1, Q=len(rows), D=vectors.shape[-1])
    episodes = replace(outcome.episodes, query=torch.tensor([rows]))
    return replace(outcome, query=vectors[None], episodes=episodes)


@pytest.mark.parametrize("kind", VIEWS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), rows=st.lists(st.integers(-1, 3), min_size=2, max_size=9), temperature=st.sampled_from([0.1, 0.5, 2.0]))
def test_losses_on_views_are_their_formulas_term_by_term(kind: type, seed: int, rows: list[int], temperature: float) -> None:
    """Also with rows in one view, in three, and padding anywhere."""
    vectors = drawn(torch.Generator().manual_seed(seed), len(rows), 4)
    found = kind(temperature=temperature)(viewed(rows, vectors))
    expected = views_by_loops(kind, vectors.tolist(), rows, temperature)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), **TIGHT)


def test_losses_on_views_have_the_values_of_paper_and_pencil() -> None:
    """All vectors alike: log(2N - 1) and log 2. Two views at cosine 1, all others at 0, for N = 3: each written out."""
    rows = [0, 1, 2, 0, 1, 2]
    same = viewed(rows, torch.ones(6, 4, dtype=torch.float64))
    apart = viewed(rows, torch.eye(4, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]])
    for temperature in (0.1, 0.5, 3.0):
        assert NtXent(temperature=temperature)(same).item() == pytest.approx(math.log(5))
        assert NtXent(temperature=temperature)(apart).item() == pytest.approx(math.log(math.exp(1 / temperature) + 4) - 1 / temperature)
        for loss in (OneNegative, Population):
            assert loss(temperature=temperature)(same).item() == pytest.approx(math.log(2))
            assert loss(temperature=temperature)(apart).item() == pytest.approx(math.log1p(math.exp(-1 / temperature)))


def test_one_negative_estimates_the_population_without_bias() -> None:
    """Averaged over orders of the views, the empirical loss is the population's, within three standard errors."""
    vectors = drawn(torch.Generator().manual_seed(3), 8, 5)
    rows = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        order = torch.randperm(8, generator=generator)
        found.append(OneNegative()(viewed(rows[order].tolist(), vectors[order])).item())
    drawn_values = torch.tensor(found, dtype=torch.float64)
    error = float(drawn_values.std()) / math.sqrt(len(found))
    assert abs(float(drawn_values.mean()) - Population()(viewed(rows.tolist(), vectors)).item()) < 3 * error < 0.03


def test_two_views_of_each_row_as_classes_are_supervised_contrast() -> None:
    vectors = drawn(torch.Generator().manual_seed(1), 6, 4)
    outcome = viewed([4, 5, 9, 4, 5, 9], vectors)
    labels = torch.tensor([[0, 1, 2, 0, 1, 2]])
    torch.testing.assert_close(NtXent(temperature=0.3)(outcome), SupervisedContrast(temperature=0.3)(labelled(outcome, labels)), **TIGHT)


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
def test_a_temperature_of_views_that_is_no_positive_number_is_refused(kind: type, temperature: float) -> None:
    with pytest.raises(InputError, match="must be a positive number"):
        kind(temperature=temperature)


def test_displacement_pulls_the_shared_weights_to_where_the_episodes_went() -> None:
    outcome = outcome_for(Displacement())
    found = gradients(Displacement(strength=1.5), outcome)
    assert set(found) == {"shared a", "shared b"}
    for name in ("a", "b"):
        torch.testing.assert_close(found[f"shared {name}"], 1.5 * (outcome.shared[name] - outcome.own[name]).sum(0), **TIGHT)
    squares = sum((outcome.shared[n] - outcome.own[n]).square().flatten(1).sum(1) for n in ("a", "b"))
    torch.testing.assert_close(Displacement(strength=1.5)(outcome), 0.75 * squares, **TIGHT)


def test_anchor_holds_the_episodes_weights() -> None:
    outcome = outcome_for(Anchor())
    found = gradients(Anchor(strength=2.0), outcome)
    assert set(found) == {"own a", "own b"}
    torch.testing.assert_close(found["own a"], 2 * (outcome.own["a"] - outcome.shared["a"]), **TIGHT)
    through = gradients(Anchor(strength=2.0, stop=False), outcome)
    torch.testing.assert_close(through["shared b"], 2 * (outcome.shared["b"] - outcome.own["b"]).sum(0), **TIGHT)
    torch.testing.assert_close(Anchor(strength=2.0)(outcome), Displacement(strength=2.0)(outcome), **TIGHT)
    shots = (outcome.episodes.query >= 0).sum(1) / (outcome.episodes.classes >= 0).sum(1)
    torch.testing.assert_close(Anchor(strength=2.0, by_shots=True)(outcome), Anchor(strength=2.0)(outcome) / shots, **TIGHT)


def test_an_unrolled_anchor_needs_its_start_for_the_exact_derivative() -> None:
    """One inner step on Anchor alone from a moved point: theta' = w - r s (w - theta); d theta' / d theta = r s, and 0 with a stop."""
    outcome = replace(outcome_for(Anchor()), own={"a": torch.ones(1, 2, dtype=torch.float64, requires_grad=True)})
    for stop, expected in ((False, 0.1 * 2.0), (True, None)):
        start = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        loss = Anchor(strength=2.0, stop=stop)(replace(outcome, shared={"a": start}))
        (step,) = torch.autograd.grad(loss.sum(), outcome.own["a"], create_graph=True)
        (found,) = torch.autograd.grad((outcome.own["a"] - 0.1 * step).sum(), start, allow_unused=True)
        assert found is None if expected is None else torch.allclose(found, torch.full((2,), expected, dtype=torch.float64))


def labelled(outcome: Outcome, label: Tensor) -> Outcome:
    return replace(outcome, episodes=replace(outcome.episodes, query_label=label, support_label=label[:, :0]))


def test_labels_of_another_kind_are_refused() -> None:
    outcome = outcome_for(CrossEntropy())
    many, reals = torch.zeros(3, 4, 3, dtype=torch.long), torch.zeros(3, 4, 3)
    with pytest.raises(InputError, match="found float targets: use SquaredError"):
        CrossEntropy()(labelled(outcome, reals))
    with pytest.raises(InputError, match="found multi-hot labels: use BinaryCrossEntropy"):
        CrossEntropy()(labelled(outcome, many))
    with pytest.raises(InputError, match="found multi-hot labels: use BinaryCrossEntropy"):
        SquaredError()(labelled(outcome, many))
    with pytest.raises(InputError, match="found class labels: use CrossEntropy"):
        SquaredError()(outcome)
    with pytest.raises(InputError, match="found one class a row: use CrossEntropy"):
        BinaryCrossEntropy()(outcome)
    with pytest.raises(InputError, match="found float targets: use SquaredError"):
        BinaryCrossEntropy()(labelled(outcome, reals))
    with pytest.raises(InputError, match=r"shape \[3, 4, 1\] as the targets, found \[3, 4, 3\]"):
        SquaredError()(labelled(outcome, reals[..., :1]))
    with pytest.raises(InputError, match=r"shape \[3, 4, 1\] as the labels, found \[3, 4, 3\]"):
        BinaryCrossEntropy()(labelled(outcome, many[..., :1]))


def test_what_a_learner_does_not_give_is_named() -> None:
    bare = Outcome(logits=torch.zeros(1, 2, 3), episodes=outcome_for(CrossEntropy(), E=1, Q=2).episodes)
    with pytest.raises(InputError, match="Distil needs a teacher's logits"):
        Distil()(bare)
    for contrast in (Contrast(temperature=1.0), SupervisedContrast()):
        with pytest.raises(InputError, match="needs features of the query"):
            contrast(bare)
    for loss in (Anchor(), Displacement()):
        with pytest.raises(InputError, match="none of the shared weights has moved"):
            loss(bare)


@pytest.mark.parametrize(
    "wrong",
    ["CrossEntropy(label_smoothing=1)", "Contrast(temperature=0)", "SupervisedContrast(temperature=0)",
     "SupervisedContrast(temperature=inf)",
     "Anchor(strength=-1)", "Displacement(strength=inf)",
     "Distil(temperature=0)", "Distil(weight=nan)", "Entropy(weight=nan)"],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="found"):
        parse(wrong, WORDS)
