"""The laws of heads."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from fewtune.parts.heads.head import FromNames, Head, Parameters, answer
from fewtune.tasks.episodes import Episodes
from fewtune.testing.law import equal, is_its_text, law

NAMES = tuple(f"class {i}" for i in range(6))  # of the space whose rows a class table holds
CLASSES, FEATURES = 4, 6


def check_head(head: Head) -> None:
    """Run the laws of the axis on a head.

    It is a value that its text spells; logits are finite, [E, Q, K], and in the dtype of the features; a batch equals its episodes one at
    a time; padding has no influence; permuting classes permutes logits; the order of the support is irrelevant; a head that says it is
    differentiable has right gradients. Raises AssertionError with a sentence that names the law.
    """
    law(isinstance(head, Head), head, "it must have everything that fewtune.parts.heads.head.Head names")
    is_its_text(head)
    support, query, episodes, vectors = problem(0)
    logits = answers(head, support, query, episodes, vectors)
    law(logits.shape == (*query.shape[:2], CLASSES), head, f"logits must be [E, Q, K], found {list(logits.shape)}")
    law(bool(logits.isfinite().all()), head, "logits must be finite")
    law(logits.dtype == query.dtype, head, f"logits must keep the dtype of the features, found {logits.dtype}")
    alone = [answers(head, support[i : i + 1], query[i : i + 1], episodes[i : i + 1], vectors[i : i + 1]) for i in range(len(episodes))]
    law(equal(logits, torch.cat(alone)), head, "a batch must give what its episodes give one at a time")
    _padding(head, logits)
    _permutations(head, logits)
    if head.differentiable and not head.own:
        _gradients(head)


def problem(
    seed: int, E: int = 3, K: int = CLASSES, shots: tuple[int, ...] = (2, 3, 2, 4), Q: int = 5, D: int = FEATURES,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Episodes, Tensor]:  # fmt: skip
    """(support, query, episodes, class vectors): classes overlap, and share a mean so that centring matters."""
    g = torch.Generator().manual_seed(seed)
    label = torch.cat([torch.full((n,), k) for k, n in enumerate(shots[:K])]).expand(E, -1)
    centres = torch.randn(E, K, D, generator=g, dtype=torch.float64) + 0.7
    support = centres.gather(1, label[..., None].expand(-1, -1, D)) + 0.8 * torch.randn(
        E, label.shape[1], D, generator=g, dtype=torch.float64
    )
    query = torch.randn(E, Q, D, generator=g, dtype=torch.float64) + 0.7
    rows = torch.arange(label.shape[1]).expand(E, -1)
    none = torch.zeros(E, Q, dtype=torch.long)
    episodes = Episodes(rows, label.clone(), none, none, torch.arange(K).expand(E, -1).clone(), torch.zeros(E, dtype=torch.long))
    return support.to(dtype), query.to(dtype), episodes, (centres + torch.randn(E, K, D, generator=g, dtype=torch.float64)).to(dtype)


def relabelled(episodes: Episodes, **changed: Tensor) -> Episodes:
    """The same episodes with some of their tensors changed."""
    return Episodes(**{f.name: changed.get(f.name, getattr(episodes, f.name)) for f in fields(Episodes)})


def answers(head: Head, support: Tensor, query: Tensor, episodes: Episodes, vectors: Tensor | None = None) -> Tensor:
    """What a head says by the parameters it starts from, each episode having begun its own."""
    if not head.own:
        given = _like(head.declare(query.shape[-1], NAMES), query)
        return answer(head, support, query, episodes, vectors, given)
    seen = support.masked_fill((episodes.support < 0)[..., None], 0.0)
    parts = []
    for e in range(len(episodes)):
        one = slice(e, e + 1)
        given = begun(head, seen[one], episodes[one], vectors if vectors is None else vectors[one])
        named = vectors[one] if vectors is not None and head.reads_classes else None
        parts.append(answer(head, support[one], query[one], episodes[one], named, _like(given, query)))
    return torch.cat(parts)


def begun(head: Head, support: Tensor, episode: Episodes, vectors: Tensor | None) -> Parameters:
    """The parameters that a head starts from in one episode, its own among them."""
    width = support.shape[-1]
    given = {**head.declare(width, NAMES), **head.begin(width, lambda: support, episode)}
    if vectors is None or not head.reads_classes or not isinstance(head, FromNames):
        return given
    return {**given, **head.begin_at(vectors[0], width)}


def _like(parameters: Parameters, query: Tensor) -> Parameters:
    return {n: t.to(query) if t.is_floating_point() else t for n, t in parameters.items()}


def _padding(head: Head, logits: Tensor) -> None:
    support, query, episodes, vectors = problem(0)
    E, rows = len(episodes), 2
    padded = relabelled(
        episodes,
        support=torch.cat([episodes.support, torch.full((E, rows), -1)], 1),
        support_label=torch.cat([episodes.support_label, torch.full((E, rows), -1)], 1),
        classes=torch.cat([episodes.classes, torch.full((E, 1), -1)], 1),
    )
    noise = torch.full((E, rows, FEATURES), 1e6, dtype=support.dtype)  # what stands in padded rows must not be seen
    widened = torch.cat([vectors, torch.zeros(E, 1, FEATURES, dtype=vectors.dtype)], 1)
    found = answers(head, torch.cat([support, noise], 1), query, padded, widened)
    law(equal(found[..., :CLASSES], logits), head, "padded rows and classes must have no influence on the logits")


def _permutations(head: Head, logits: Tensor) -> None:
    support, query, episodes, vectors = problem(0)
    order = torch.tensor([2, 0, 3, 1])
    places, moved = torch.empty_like(episodes.classes), torch.empty_like(vectors)
    places[:, order], moved[:, order] = episodes.classes, vectors
    swapped = relabelled(episodes, support_label=order[episodes.support_label], classes=places)
    law(equal(answers(head, support, query, swapped, moved)[..., order], logits), head, "permuting the classes must permute the logits")
    turned = torch.arange(support.shape[1] - 1, -1, -1)
    shuffled = relabelled(episodes, support_label=episodes.support_label[:, turned])
    found = answers(head, support[:, turned], query, shuffled, vectors)
    law(equal(found, logits), head, "the order of the support must be irrelevant")


def _gradients(head: Head) -> None:
    support, query, episodes, vectors = problem(5, E=2, K=3, shots=(2, 1, 2), Q=2, D=4)
    given = _like(head.declare(4, NAMES), query)

    def logits(s: Tensor, q: Tensor) -> Tensor:
        return answer(head, s, q, episodes, vectors, given)

    inputs = [support.requires_grad_(), query.requires_grad_()]
    try:
        with torch.random.fork_rng(devices=[]):  # fast mode compares along random directions: two of them, the same at every call
            torch.manual_seed(0)
            right = all(torch.autograd.gradcheck(logits, inputs, eps=1e-5, atol=1e-5, rtol=1e-4, fast_mode=True) for _ in range(2))
    except (RuntimeError, ValueError) as wrong:
        raise AssertionError(
            f"{type(head).__name__}: it says it is differentiable, but its gradients are not those of its logits: {wrong}"
        ) from wrong
    law(right, head, "its gradients must be those of its logits")
