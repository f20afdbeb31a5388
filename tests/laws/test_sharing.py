"""Heads that share between label columns: each against its formula written out row by row, and where one of them is another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.parts.heads.head import Head, Random, answer
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
from fewtune.spec import text
from fewtune.tasks.episodes import Episodes

OUTPUTS, D = (3, 1, 2), 6  # a class column of three classes, a number, two labels
VECTORS = ((0.5, 1.0), (-1.0, 2.0), (0.3, 0.1))
TIGHT = {"rtol": 1e-9, "atol": 1e-9}
CASES = (
    Additive(outputs=OUTPUTS, width=5),
    Additive(outputs=OUTPUTS, width=5, depth=3, descriptors=VECTORS),
    CrossStitch(outputs=OUTPUTS, width=5, depth=2),
    Film(outputs=OUTPUTS, width=5, depth=2, activation="gelu"),
    Film(outputs=OUTPUTS, width=5, descriptors=VECTORS),
    Gating(outputs=OUTPUTS, width=5, depth=2, share=0.4),
    Independent(outputs=OUTPUTS, width=5, depth=2),
    Mmoe(outputs=OUTPUTS, width=5, depth=2, experts=3),
    Mmoe(outputs=OUTPUTS, width=5, experts=2, tower=4, activation="gelu"),
    Mtan(outputs=OUTPUTS, width=5, depth=3),
    SharedBottom(outputs=OUTPUTS, width=5, depth=2),
    SharedBottom(outputs=OUTPUTS, width=5, tower=4),
    TaskQueries(outputs=OUTPUTS, width=6, depth=2, tokens=3, attention_heads=2),
    TaskQueries(outputs=OUTPUTS, width=6, descriptors=VECTORS),
)
each = pytest.mark.parametrize("head", CASES, ids=text)


def episodes_of(tasks: list[int], Q: int = 4, outputs: tuple[int, ...] = OUTPUTS) -> Episodes:
    """An episode for each of these tasks, that asks for all outputs of the task; narrower ones are padded."""
    E, none = len(tasks), torch.zeros(len(tasks), 0, dtype=torch.long)
    classes = torch.full((E, max(outputs)), -1)
    for e, t in enumerate(tasks):
        first = sum(outputs[:t])
        classes[e, : outputs[t]] = torch.arange(first, first + outputs[t])
    rows = torch.arange(E * Q).view(E, Q)
    label = torch.zeros(E, Q, max(outputs), dtype=torch.float64)
    return Episodes(none, label[:, :0], rows, label, classes, torch.tensor(tasks))


def rows_for(episodes: Episodes, seed: int = 0) -> Tensor:
    return torch.randn(*episodes.query.shape, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def anywhere(head: Any, seed: int = 1) -> dict[str, Tensor]:
    """Parameters that are nothing in particular, none of them zero."""
    g = torch.Generator().manual_seed(seed)
    return {n: 0.5 * torch.randn(t.shape, generator=g, dtype=torch.float64) for n, t in head.declare(D).items()}


def begun(head: Any) -> dict[str, Tensor]:
    return {n: t.double() for n, t in head.declare(D).items()}


def said(head: Any, parameters: dict[str, Tensor], query: Tensor, episodes: Episodes) -> Tensor:
    return answer(head, query.new_zeros(len(query), 0, D), query, episodes, None, parameters)


Named = Callable[[str], Tensor]


def act(head: Any, x: Tensor) -> Tensor:
    return x.clamp_min(0) if head.activation == "relu" else functional.gelu(x)


def z(head: Any, t: int) -> Tensor:
    given = torch.tensor(getattr(head, "descriptors", ()) or [[float(i == t) for i in range(len(OUTPUTS))]] * len(OUTPUTS))
    return given[t].double()


def hidden(head: Any, p: Named, x: Tensor, t: int) -> Tensor:
    """What the output rows of task t read, for one row of features: the formula of each head in plain products."""
    match head:
        case Independent():
            for n in range(head.depth):
                x = act(head, p(f"trunk.{n}.weight")[t] @ x + p(f"trunk.{n}.bias")[t])
        case SharedBottom():
            for n in range(head.depth):
                x = act(head, p(f"trunk.{n}.weight") @ x + p(f"trunk.{n}.bias"))
            x = tower(head, p, x, t)
        case Additive():
            for n in range(head.depth):
                more = p("task.weight") @ z(head, t) if n == 0 else 0.0
                x = act(head, p(f"trunk.{n}.weight") @ x + more + p(f"trunk.{n}.bias"))
        case Film():
            for n in range(head.depth):
                plain = p(f"trunk.{n}.weight") @ x + p(f"trunk.{n}.bias")
                x = act(head, (1 + p(f"gamma.{n}") @ z(head, t)) * plain + p(f"beta.{n}") @ z(head, t))
        case Gating():
            common, mine = head.common, head.width - head.common
            for n in range(head.depth):
                x = act(head, p(f"trunk.{n}.weight") @ x + p(f"trunk.{n}.bias"))
                used = [*range(common), *range(common + t * mine, common + (t + 1) * mine)]
                x = torch.stack([one if place in used else torch.zeros_like(one) for place, one in enumerate(x)])
        case CrossStitch():
            xs = [x] * len(OUTPUTS)
            for n in range(head.depth):
                plains = [act(head, p(f"trunk.{n}.weight")[u] @ one + p(f"trunk.{n}.bias")[u]) for u, one in enumerate(xs)]
                xs = [sum((p(f"stitch.{n}")[s, u] * one for u, one in enumerate(plains)), torch.zeros(())) for s in range(len(OUTPUTS))]
            x = xs[t]
        case Mtan():
            shared, masked = x, torch.zeros(0, dtype=x.dtype)
            for n in range(head.depth):
                before = p(f"trunk.{n}.weight") @ shared + p(f"trunk.{n}.bias")
                shared = act(head, before)
                attended = act(head, p(f"attend.{n}.weight")[t] @ torch.cat([before, masked]) + p(f"attend.{n}.bias")[t])
                masked = torch.sigmoid(p(f"mask.{n}.weight")[t] @ attended + p(f"mask.{n}.bias")[t]) * shared
            x = masked
        case Mmoe():
            gate = torch.softmax(p("gate.weight")[t] @ x, 0)
            found = []
            for e in range(head.experts):
                one = x
                for n in range(head.depth):
                    one = act(head, p(f"trunk.{n}.weight")[e] @ one + p(f"trunk.{n}.bias")[e])
                found.append(gate[e] * one)
            x = tower(head, p, torch.stack(found).sum(0), t)
        case TaskQueries():
            x = attended_by(head, p, x, t)
    return x


def tower(head: Any, p: Named, x: Tensor, t: int) -> Tensor:
    return act(head, p("tower.weight")[t] @ x + p("tower.bias")[t]) if head.tower else x


def attended_by(head: TaskQueries, p: Named, x: Tensor, t: int) -> Tensor:
    """By torch's own attention, a head at a time."""
    H = head.width // head.attention_heads
    tokens = (p("token.weight") @ x + p("token.bias")).view(head.tokens, head.width)
    keys, values = (tokens @ p(f"{part}.weight").T + p(f"{part}.bias") for part in ("key", "value"))
    asking = p("query.weight") @ z(head, t)
    parts = [
        functional.scaled_dot_product_attention(asking[None, i : i + H], keys[:, i : i + H], values[:, i : i + H])[0]
        for i in range(0, head.width, H)
    ]
    found = asking + p("mixed.weight") @ torch.cat(parts) + p("mixed.bias")
    for n in range(head.depth):
        centred = found - found.mean()
        normal = centred / (found.var(unbiased=False) + 1e-5).sqrt()
        found = found + act(head, p(f"trunk.{n}.weight") @ normal + p(f"trunk.{n}.bias"))
    return found


def test_every_sharing_head_is_a_case_and_a_head() -> None:
    assert {type(case) for case in CASES} == set(SHARING)
    assert all(isinstance(case, Sharing) and isinstance(case, Head) for case in CASES)
    assert [type(case) for case in CASES if isinstance(case, Random)] == [Mmoe, Mmoe]


@each
def test_it_is_its_formula_row_by_row(head: Any) -> None:
    episodes = episodes_of([0, 2, 1, 0])
    query, given = rows_for(episodes), anywhere(head)
    found = said(head, given, query, episodes)
    for e, t in enumerate(episodes.task.tolist()):
        first = sum(OUTPUTS[:t])
        mine = slice(first, first + OUTPUTS[t])
        for q in range(query.shape[1]):
            read = hidden(head, lambda part: given[f"head.{part}"], query[e, q], t)
            expected = given["head.out.weight"][mine] @ read + given["head.out.bias"][mine]
            torch.testing.assert_close(found[e, q, : OUTPUTS[t]], expected, **TIGHT)
        assert bool((found[e, :, OUTPUTS[t] :] == -torch.inf).all())


@each
def test_its_gradients_are_those_of_central_differences(head: Any) -> None:
    episodes = episodes_of([0, 2], Q=2)
    query, given = rows_for(episodes).requires_grad_(), {n: t.requires_grad_() for n, t in anywhere(head).items()}

    def of(*values: Tensor) -> Tensor:
        return said(head, dict(zip(given, values[1:], strict=True)), values[0], episodes).clamp_min(-9)

    assert torch.autograd.gradcheck(of, (query, *given.values()), fast_mode=True)


@each
def test_an_episode_alone_one_row_and_the_order_of_outputs(head: Any) -> None:
    episodes, given = episodes_of([1, 0, 2]), anywhere(head)
    query = rows_for(episodes)
    whole = said(head, given, query, episodes)
    for e in range(3):
        torch.testing.assert_close(said(head, given, query[e : e + 1], episodes[e : e + 1]), whole[e : e + 1], **TIGHT)
    one = replace(episodes[1:2], query=episodes.query[1:2, :1], query_label=episodes.query_label[1:2, :1])
    torch.testing.assert_close(said(head, given, query[1:2, :1], one), whole[1:2, :1], **TIGHT)
    turned = replace(episodes, classes=episodes.classes[:, [2, 0, 1]])
    torch.testing.assert_close(said(head, given, query, turned), whole[..., [2, 0, 1]], **TIGHT)


@each
def test_it_begins_by_its_seed_and_no_two_calls_share_memory(head: Any) -> None:
    one, other = head.declare(D), head.declare(D)
    assert all(torch.equal(one[n], other[n]) and one[n].data_ptr() != other[n].data_ptr() for n in one)
    seeded = replace(head, seed=3).declare(D)
    assert not torch.equal(seeded["head.trunk.0.weight"], one["head.trunk.0.weight"])


@each
def test_with_one_task_there_is_one_network(head: Any) -> None:
    """All of them begin as a network of one trunk, but those whose task has masks, experts or tokens."""
    if isinstance(head, Mtan | TaskQueries) or (isinstance(head, Mmoe) and head.experts > 1):
        head = Mmoe(experts=1, width=5)
    more = {"descriptors": VECTORS[:1]} if getattr(head, "descriptors", ()) else {}
    head = replace(head, outputs=(3,), **more)
    plain = SharedBottom(outputs=(3,), width=head.width, depth=head.depth, tower=getattr(head, "tower", 0), activation=head.activation)
    episodes = episodes_of([0, 0], outputs=(3,))
    query = rows_for(episodes)
    torch.testing.assert_close(said(head, begun(head), query, episodes), said(plain, begun(plain), query, episodes), **TIGHT)


@pytest.mark.parametrize("start", ["anywhere", "equal"])
@each
def test_two_tasks_with_equal_weights_answer_alike(head: Any, start: str) -> None:
    """What tells the tasks apart is only what belongs to them."""
    more = {"descriptors": (VECTORS[0],) * 2} if getattr(head, "descriptors", ()) else {}
    twins = replace(head, outputs=(2, 2), **more)
    given, T = anywhere(twins), 2
    for n, t in given.items():
        by_column = n.split(".")[1] in ("task", "gamma", "beta", "query") and not more
        if n.startswith("head.out"):
            given[n] = t[:2].repeat(2, *([1] * (t.ndim - 1)))
        elif by_column:
            given[n] = t[:, :1].repeat(1, T)
        elif "stitch" in n:
            given[n] = torch.tensor([[0.7, 0.2], [0.2, 0.7]], dtype=t.dtype)
        elif isinstance(twins, Gating):
            return
        elif (t.shape[0] == T and not isinstance(twins, Mmoe)) or n.startswith(("head.gate", "head.tower")):
            given[n] = t[:1].repeat(T, *([1] * (t.ndim - 1)))
    episodes = episodes_of([0, 1], outputs=(2, 2))
    query = rows_for(episodes)[:1].repeat(2, 1, 1)
    found = said(twins, given, query, episodes)
    torch.testing.assert_close(found[0], found[1], **TIGHT)
    if start == "equal":  # and so do their gradients by what they share
        name = "head.trunk.0.weight"
        leaf = given[name].clone().requires_grad_()
        both = said(twins, {**given, name: leaf}, query, episodes).square().mean((1, 2))
        (one,) = torch.autograd.grad(both[0], leaf, retain_graph=True)
        (mean,) = torch.autograd.grad(both.mean(), leaf)
        if isinstance(twins, Independent | CrossStitch):
            one, mean = one.sum(0), mean.sum(0)
        torch.testing.assert_close(mean, one, **TIGHT)


def test_a_vector_beside_the_features_is_a_vector_that_is_added() -> None:
    """Concatenation then a linear layer is addition."""
    for vectors in ((), VECTORS):
        head = Additive(outputs=OUTPUTS, width=5, descriptors=vectors)
        episodes, given = episodes_of([2, 0, 1]), anywhere(head)
        query = rows_for(episodes)
        weight = torch.cat([given["head.trunk.0.weight"], given["head.task.weight"]], 1)
        beside = torch.stack([z(head, t) for t in episodes.task.tolist()])[:, None].expand(-1, query.shape[1], -1)
        concatenated = functional.linear(torch.cat([query, beside], -1), weight, given["head.trunk.0.bias"]).relu()
        for e, t in enumerate(episodes.task.tolist()):
            mine = slice(sum(OUTPUTS[:t]), sum(OUTPUTS[: t + 1]))
            expected = concatenated[e] @ given["head.out.weight"][mine].T + given["head.out.bias"][mine]
            torch.testing.assert_close(said(head, given, query, episodes)[e, :, : OUTPUTS[t]], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("head", "plain"),
    [
        (Film(), SharedBottom()),
        (Film(descriptors=VECTORS), SharedBottom()),
        (Additive(), SharedBottom()),
        (Mmoe(experts=1), SharedBottom()),
        (Mmoe(experts=1, tower=3), SharedBottom(tower=3)),
        (Gating(share=1.0), SharedBottom()),
        (CrossStitch(keep=1.0), Independent()),
        (CrossStitch(), SharedBottom()),
        (Independent(), SharedBottom()),
    ],
    ids=text,
)
def test_where_it_begins_it_is_a_simpler_head(head: Any, plain: Any, depth: int) -> None:
    head, plain = (replace(one, outputs=OUTPUTS, width=5, depth=depth) for one in (head, plain))
    episodes = episodes_of([0, 1, 2, 1])
    query = rows_for(episodes)
    near = {"rtol": 1e-6, "atol": 1e-6} if isinstance(head, CrossStitch) else TIGHT  # .9 and .1 add to 1 in float32
    torch.testing.assert_close(said(head, begun(head), query, episodes), said(plain, begun(plain), query, episodes), **near)


def test_one_expert_is_a_shared_bottom_whatever_its_weights() -> None:
    head, plain = Mmoe(outputs=OUTPUTS, width=5, depth=2, experts=1, tower=3), SharedBottom(outputs=OUTPUTS, width=5, depth=2, tower=3)
    episodes, given = episodes_of([0, 1, 2]), anywhere(head)
    query = rows_for(episodes)
    same = {n: t[0] if ".trunk." in n else t for n, t in given.items() if ".gate." not in n}
    torch.testing.assert_close(said(head, given, query, episodes), said(plain, same, query, episodes), **TIGHT)


def test_the_identity_between_networks_is_independence_whatever_their_weights() -> None:
    head, plain = CrossStitch(outputs=OUTPUTS, width=5, depth=2), Independent(outputs=OUTPUTS, width=5, depth=2)
    episodes, given = episodes_of([0, 1, 2]), anywhere(head)
    query = rows_for(episodes)
    given |= {n: torch.eye(3, dtype=torch.float64) for n in given if ".stitch." in n}
    same = {n: t for n, t in given.items() if ".stitch." not in n}
    torch.testing.assert_close(said(head, given, query, episodes), said(plain, same, query, episodes), **TIGHT)


def test_gates_that_share_nothing_are_networks_apart() -> None:
    """The blocks of one layer, read as a layer a task; nothing flows, forward or backward, between the blocks of two tasks."""
    head, plain = Gating(outputs=OUTPUTS, width=4, depth=2, share=0.0), Independent(outputs=OUTPUTS, width=4, depth=2)
    episodes, given = episodes_of([0, 1, 2]), anywhere(head)
    query = rows_for(episodes)
    blocks = [slice(4 * t, 4 * t + 4) for t in range(3)]
    owner = [0, 0, 0, 1, 2, 2]
    same = {
        "head.trunk.0.weight": torch.stack([given["head.trunk.0.weight"][b] for b in blocks]),
        "head.trunk.1.weight": torch.stack([given["head.trunk.1.weight"][b, b] for b in blocks]),
        **{f"head.trunk.{n}.bias": torch.stack([given[f"head.trunk.{n}.bias"][b] for b in blocks]) for n in (0, 1)},
        "head.out.weight": torch.stack([given["head.out.weight"][o, blocks[t]] for o, t in enumerate(owner)]),
        "head.out.bias": given["head.out.bias"],
    }
    torch.testing.assert_close(said(head, given, query, episodes), said(plain, same, query, episodes), **TIGHT)
    leaves = {n: t.requires_grad_() for n, t in given.items()}
    total = said(head, leaves, query, episodes).clamp_min(-9)[0].sum()
    slope = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    assert bool(slope["head.trunk.1.weight"][blocks[0], blocks[0]].any())
    assert not slope["head.trunk.0.weight"][4:].any() and not slope["head.trunk.1.weight"][:, 4:].any()
    assert Gating(outputs=OUTPUTS, width=4, share=0.25).units == 1 + 3 * 3


def test_the_sum_of_the_losses_of_copies_is_one_loss() -> None:
    """Where every task is the same task, the gradient by the trunk is that of one task, whatever the number of copies."""
    found, rows = [], rows_for(episodes_of([0]))
    for T in (1, 3):
        outputs = (2,) * T
        head = SharedBottom(outputs=outputs, width=5)
        given = anywhere(replace(head, outputs=(2,)))
        given |= {n: given[n].repeat(T, *([1] * (given[n].ndim - 1))) for n in ("head.out.weight", "head.out.bias")}
        episodes = episodes_of(list(range(T)), outputs=outputs)
        query = rows.repeat(T, 1, 1)
        leaf = given["head.trunk.0.weight"].requires_grad_()
        losses = said(head, given, query, episodes).square().mean((1, 2))
        found.append(torch.autograd.grad(losses.mean(), leaf)[0])
    torch.testing.assert_close(found[0], found[1], **TIGHT)


def test_other_tasks_than_it_was_made_for_are_refused() -> None:
    head = SharedBottom(outputs=(2, 2))
    outside = [([2], [[0, 1, -1]]), ([1], [[3, 4, -1]])]  # a third task, a fifth output
    for wrong in (replace(episodes_of(task), classes=torch.tensor(classes)) for task, classes in outside):
        with pytest.raises(InputError, match="was made for 2 label columns with 4 outputs in all, but it is asked for others"):
            said(head, begun(head), rows_for(wrong), wrong)


@pytest.mark.parametrize("kind", SHARING)
def test_without_label_columns_it_says_so(kind: Any) -> None:
    with pytest.raises(InputError, match=rf"{kind.__name__} learns several label columns at once.*choose another method"):
        kind().declare(D)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SharedBottom(width=0), "width and a depth of at least 1, found 0 and 1"),
        (lambda: Independent(depth=0), "width and a depth of at least 1, found 64 and 0"),
        (lambda: Mtan(activation="tanh"), "unknown activation 'tanh'"),  # type: ignore[arg-type]
        (lambda: SharedBottom(outputs=(2, 0)), "every task has at least one output"),
        (lambda: SharedBottom(tower=-1), "tower is a width, 0 for none, found -1"),
        (lambda: Mmoe(experts=0), "at least one expert"),
        (lambda: Mmoe(dropout=1.0), "a dropout of at least 0 and below 1, found 4 and 1.0"),
        (lambda: Gating(share=1.5), "from 0 to 1, found 1.5"),
        (lambda: CrossStitch(keep=-0.1), "from 0 to 1, found -0.1"),
        (lambda: TaskQueries(width=10, attention_heads=4), "heads that divide the width"),
        (lambda: Film(outputs=(2, 2), descriptors=((1.0,),)), r"one for each of the 2 tasks, found 1 of lengths \[1\]"),
        (lambda: Additive(outputs=(2, 2), descriptors=((1.0,), (1.0, 2.0))), r"found 2 of lengths \[1, 2\]"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_experts_are_dropped_by_key_and_the_rest_counts_for_more() -> None:
    head = Mmoe(outputs=OUTPUTS, width=5, experts=3, dropout=0.6)
    episodes, given = episodes_of([0, 1, 2, 0], Q=500), anywhere(head)
    query = rows_for(episodes)
    drawn = head.drawn(key(0), episodes, range(4))
    kept = drawn["head.kept"]
    assert kept.shape == (4, 500, 3) and bool(kept.any(-1).all())  # no row is left without any expert
    rest = 0.4 / (1 - 0.6**3)  # of those drawn again until one is there
    assert float(kept.double().mean()) == pytest.approx(rest, abs=0.02)
    assert not torch.equal(kept[0], kept[3])
    part = head.drawn(key(0), episodes[2:], range(2, 4))["head.kept"]
    assert torch.equal(part, kept[2:]) and not torch.equal(head.drawn(key(1), episodes, range(4))["head.kept"], kept)
    found = said(head, {**given, **drawn}, query, episodes)
    e, q = 1, int((kept[1].sum(-1) == 2).nonzero()[0])
    gate = torch.softmax(given["head.gate.weight"][1] @ query[e, q], 0) * kept[e, q]
    mixed = sum(
        gate[n] / gate.sum() * (given["head.trunk.0.weight"][n] @ query[e, q] + given["head.trunk.0.bias"][n]).relu() for n in range(3)
    )
    torch.testing.assert_close(found[e, q, 0], given["head.out.weight"][3] @ mixed + given["head.out.bias"][3], **TIGHT)
    assert not head.drawn(key(0), episodes, range(4)).keys() - {"head.kept"}
    assert replace(head, dropout=0.0).drawn(key(0), episodes, range(4)) == {} == replace(head, experts=1).drawn(key(0), episodes, range(4))
