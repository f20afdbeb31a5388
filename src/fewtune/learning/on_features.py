"""Heads on a feature table: every row embedded once, episodes only gather. The inner loop of frozen evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.heads.head import Head, Parameters, State, mask_classes
from fewtune.tasks.episodes import Episodes

FIT_BYTES = 2 << 20  # support features gathered at once: enough episodes that the many small operations of a fit are shared
QUERY_BYTES = 3 << 20  # query features gathered at once: they stay in the cache between the gather and the product


def answer_table(
    head: Head,
    table: Float[Tensor, "N D"],
    episodes: Episodes,
    class_vectors: Tensor | None = None,
    parameters: Parameters | None = None,
    chunk: int | None = None,
) -> Iterator[tuple[slice, Float[Tensor, "e Q K"]]]:
    """Logits of every episode's queries, chunk by chunk in order: (which episodes, their logits). No gradient is kept.

    `table`: features of space rows, row by row, on the device where heads run. `class_vectors`: [E, K, D], or [C, D] by global
    class id (the ids in `episodes.classes`). `parameters`: the head's declared ones, by default its start. `chunk`: episodes in a
    chunk, by default so many that buffers stay small; it changes no result. Logits of padded classes are -inf, those of padded
    queries mean nothing. Raises InputError when class vectors are needed and absent, or when episodes name rows the table has not.
    """
    check(head, table, episodes, class_vectors)
    if parameters is None:
        parameters = {k: v.to(table.device, _gathered(table)) for k, v in head.declare(table.shape[1]).items()}
    row = table.shape[1] * table.element_size()
    S, Q = episodes.support.shape[1], episodes.query.shape[1]
    chunk = chunk or min(256, max(1, FIT_BYTES // max(1, S * row)))
    inner = min(chunk, max(1, QUERY_BYTES // max(1, Q * row)))
    # two buffers for the whole run: allocating one a chunk costs as much as the products
    support = table.new_empty(min(chunk, len(episodes)) * S, table.shape[1], dtype=_gathered(table))
    query = table.new_empty(min(inner, len(episodes)) * Q, table.shape[1], dtype=_gathered(table))
    for start in range(0, len(episodes), chunk):
        part = slice(start, min(start + chunk, len(episodes)))
        mine = episodes[part].to(table.device)
        vectors = vectors_of(class_vectors, episodes, part, table)
        yield part, _answer(head, table, mine, vectors, parameters, support, query)


def correct_on_table(
    head: Head,
    table: Float[Tensor, "N D"],
    episodes: Episodes,
    class_vectors: Tensor | None = None,
    parameters: Parameters | None = None,
    chunk: int | None = None,
) -> Bool[Tensor, "E Q"]:
    """Whether the largest logit is the label's, for every query; False for padded queries. Arguments as `answer_table`."""
    correct = torch.empty(episodes.query_label.shape, dtype=torch.bool, device=table.device)
    for part, logits in answer_table(head, table, episodes, class_vectors, parameters, chunk):
        torch.eq(logits.max(dim=-1).indices, episodes.query_label[part].to(table.device), out=correct[part])
    return correct


@torch.no_grad()  # here and not around the loop above: a generator would leave it switched on for its caller
def _answer(
    head: Head, table: Tensor, episodes: Episodes, vectors: Tensor | None, parameters: Parameters, support: Tensor, query: Tensor
) -> Tensor:
    E, Q = episodes.query.shape
    state = fit_on_table(head, table, episodes, vectors, parameters, support)
    inner = max(1, len(query) // max(1, Q))
    logits = [
        head.score({k: v[i : i + inner] for k, v in state.items()}, _gather(table, episodes.query[i : i + inner], query), parameters)
        for i in range(0, E, inner)
    ]
    return mask_classes(logits[0] if len(logits) == 1 else torch.cat(logits), episodes)


def fit_on_table(
    head: Head, table: Tensor, episodes: Episodes, vectors: Tensor | None, parameters: Parameters, buffer: Tensor | None = None
) -> State:
    """The state of a head that is fitted on support rows of the table; `buffer`: where they are gathered."""
    if buffer is None:
        buffer = table.new_empty(episodes.support.numel(), table.shape[1], dtype=_gathered(table))
    features = _gather(table, episodes.support, buffer)
    padding = episodes.support < 0
    if bool(padding.any()):
        features.masked_fill_(padding[..., None], 0.0)
    return head.fit(features, episodes, vectors, parameters)


def _gathered(table: Tensor) -> torch.dtype:
    """The type of gathered features: a table of bfloat16 is read as float32, so that its numbers are all that is rounded."""
    return torch.float32 if table.dtype == torch.bfloat16 else table.dtype


def _gather(table: Tensor, rows: Tensor, buffer: Tensor) -> Tensor:
    """table[rows] in the buffer; padding gets row 0."""
    into = buffer[: rows.numel()]
    if table.dtype == buffer.dtype:
        torch.index_select(table, 0, rows.clamp_min(0).reshape(-1), out=into)
    else:
        into.copy_(torch.index_select(table, 0, rows.clamp_min(0).reshape(-1)))
    return into.view(*rows.shape, table.shape[1])


def vectors_of(class_vectors: Tensor | None, episodes: Episodes, part: slice, table: Tensor) -> Tensor | None:
    """Class vectors [e, K, D] of a part of the episodes, where the table is."""
    if class_vectors is None:
        return None
    if class_vectors.ndim == 2:
        class_vectors = class_vectors[episodes.classes[part].to(class_vectors.device).clamp_min(0)]
    else:
        class_vectors = class_vectors[part]
    return class_vectors.to(table.device)


def check(head: Head, table: Tensor, episodes: Episodes, class_vectors: Tensor | None) -> None:
    """Raises InputError when class vectors are needed and absent, or when episodes name rows the table has not."""
    if head.reads_classes and class_vectors is None:
        raise InputError(
            f"{type(head).__name__} compares with class names, but this backbone has no label side: use a text or image-text backbone."
        )
    highest = max((int(rows.max()) for rows in (episodes.support, episodes.query) if rows.numel()), default=-1)
    if highest >= len(table):
        raise InputError(f"the episodes name row {highest}, but the feature table has {len(table)} rows: make it of the same space.")
