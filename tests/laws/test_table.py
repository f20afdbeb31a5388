"""Table = live: what a head says on gathered rows is what it says on the features themselves, whatever the chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fewtune.errors import InputError
from fewtune.learning.on_features import answer_table, correct_on_table
from fewtune.parts.heads import HEADS, Centroid, Linear, Text
from fewtune.parts.heads.head import answer
from fewtune.tasks.episodes import Episodes, join

TABLE_OF_CLASSES = Linear(rows="class", start="random")
each_head = pytest.mark.parametrize(
    "head", [TABLE_OF_CLASSES if kind is Linear else kind() for kind in HEADS], ids=lambda head: type(head).__name__
)


def learned(head: Any) -> dict[str, torch.Tensor] | None:
    """What a head cannot do without having learned it."""
    if head is not TABLE_OF_CLASSES:
        return None
    declared = head.declare(16, [f"c{k}" for k in range(9)])
    return {name: t.double() if t.is_floating_point() else t for name, t in declared.items()}


def some(E: int, K: int, shots: int, Q: int, rows: int, seed: int) -> Episodes:
    g = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(rows, generator=g)[: K * shots + Q] for _ in range(E)])  # distinct rows, so no ties
    label = torch.arange(K).repeat_interleave(shots).expand(E, -1).clone()
    classes = torch.stack([torch.randperm(9, generator=g)[:K] for _ in range(E)])
    split = drawn[:, : K * shots], drawn[:, K * shots :]
    return Episodes(split[0], label, split[1], torch.randint(K, (E, Q), generator=g), classes, torch.zeros(E, dtype=torch.long))


TABLE = torch.randn(200, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
CLASS_VECTORS = torch.randn(9, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
RAGGED = join([some(5, 4, 2, 7, 200, 0), some(4, 3, 1, 5, 200, 1), some(3, 5, 3, 6, 200, 2)])


@each_head
@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_table_is_live(head: Any, chunk: int | None) -> None:
    support, query = TABLE[RAGGED.support.clamp_min(0)], TABLE[RAGGED.query.clamp_min(0)]
    live = answer(head, support, query, RAGGED, CLASS_VECTORS[RAGGED.classes.clamp_min(0)], learned(head))
    parts = list(answer_table(head, TABLE, RAGGED, CLASS_VECTORS, chunk=chunk, parameters=learned(head)))
    assert [part.start for part, _ in parts] == list(range(0, 12, chunk or 12))
    torch.testing.assert_close(torch.cat([logits for _, logits in parts]), live, rtol=1e-7, atol=1e-7)
    by_episode = CLASS_VECTORS[RAGGED.classes.clamp_min(0)]
    again = answer_table(head, TABLE, RAGGED, by_episode, chunk=chunk, parameters=learned(head))
    assert torch.equal(torch.cat([logits for _, logits in again]).argmax(-1), live.argmax(-1))


@each_head
def test_correct_is_the_label_having_the_largest_logit(head: Any) -> None:
    correct = correct_on_table(head, TABLE, RAGGED, CLASS_VECTORS, parameters=learned(head), chunk=5)
    logits = torch.cat([part for _, part in answer_table(head, TABLE, RAGGED, CLASS_VECTORS, parameters=learned(head))])
    assert torch.equal(correct, logits.argmax(-1) == RAGGED.query_label)
    assert not bool(correct[RAGGED.query < 0].any())


def test_what_is_yielded_stays_and_gradients_stay_on_for_the_caller() -> None:
    kept = []
    for _, logits in answer_table(Centroid(), TABLE.clone().requires_grad_(), RAGGED, chunk=2):
        assert torch.is_grad_enabled()
        assert not logits.requires_grad
        kept.append((logits, logits.clone()))
    assert all(torch.equal(now, then) for now, then in kept)


def test_no_episodes_and_no_queries() -> None:
    assert list(answer_table(Centroid(), TABLE, RAGGED[:0])) == []
    bare = some(3, 2, 1, 0, 200, 5)
    assert [logits.shape for _, logits in answer_table(Centroid(), TABLE, bare)] == [(3, 0, 2)]


def test_refusals() -> None:
    with pytest.raises(InputError, match="no label side"):
        list(answer_table(Text(), TABLE, RAGGED))
    with pytest.raises(InputError, match="but the feature table has 50 rows"):
        list(answer_table(Centroid(), TABLE[:50], RAGGED))
