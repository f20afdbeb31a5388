"""What came of a pool, as the page shows it: the guard, the chosen tasks, the training runs, the rows that both sides hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Examples
from fewtune.learners.target import Target
from fewtune.report.findings import Added, Curve, Floats, Guard, Leak, Looked, Selection, Shown, Similarity
from fewtune.report.thumbnails import thumbnail
from fewtune.sources.outcome import Borrowed
from fewtune.words import counted

LEAKS = 12  # shown
POOL_CLASSES = 30  # of the similarity map: those most like a class of the target


def shown_row(examples: Examples, row: int) -> Shown:
    """How a row of a collection is shown; nothing where it cannot be read."""
    try:
        return thumbnail(examples.items.fetch(row, 128))
    except ValueError:
        return None


def guard_of(borrowed: Borrowed) -> Guard | None:
    """What the guard found; None where it was not asked."""
    guard = borrowed.guard
    if guard is None:
        return None
    return Guard(where=guard.where, kept_finetuned=guard.kept, sentence=borrowed.why, gain=guard.gain, differences=guard.differences)


def curves_of(borrowed: Borrowed) -> tuple[Curve, ...]:
    """The trial of the rate that was chosen, with its looks at validation tasks, and the run behind the finetuned backbone."""
    tuned = borrowed.tuned
    if tuned is None:
        return ()
    rate = tuned.advice.rate
    named = (("the trial that was best", tuned.advice.curve), ("finetuning", tuned.curve))
    return tuple(_curve(f"{name}, {rate}" if rate else name, curve) for name, curve in named if curve)


def _curve(label: str, curve: Sequence[Mapping[str, Any]]) -> Curve:
    judged = [(i, row["validation"]) for i, row in enumerate(curve) if "validation" in row]
    return Curve(
        label=label,
        steps=np.arange(1, len(curve) + 1),
        loss=np.array([row["loss"] for row in curve]),
        validation_steps=np.array([i + 1 for i, _ in judged]),
        validation=np.array([accuracy for _, accuracy in judged], dtype=np.float64),
    )


def leaks_of(borrowed: Borrowed, target: Target) -> tuple[Leak, ...]:
    """The first few pairs of rows that pool and target share."""
    lent = {source.name: source for source in borrowed.related.lent}
    return tuple(
        Leak(
            pool_row=f"{leak.source}: {lent[leak.source].row_names[leak.row]}",
            target_row=target.examples.row_names[leak.target],
            how=leak.how,
            distance=leak.distance,
            pool_shown=shown_row(lent[leak.source], leak.row),
            target_shown=shown_row(target.examples, leak.target),
        )
        for leak in borrowed.related.leaks[:LEAKS]
    )


def selection_of(borrowed: Borrowed, target: Target) -> Selection:
    """Every candidate that was looked at, and what the chosen ones are made of."""
    trace = tuple(
        Looked(
            name=row["name"],
            source=row["source"],
            similarity=row["similarity"],
            coverage=row["coverage"],
            gain=row["gain"],
            taken=row["taken"],
            reason=row["reason"],
        )
        for row in borrowed.trace.table.to_pylist()
    )
    classes = _chosen_classes(borrowed)
    taken = sum(look.taken for look in trace)
    return Selection(
        sentence=f"{taken:,} of {counted(len(borrowed.candidates), 'candidate task')} {'was' if taken == 1 else 'were'} chosen, "
        f"from {counted(len(classes), 'data set')}.",
        trace=trace,
        classes=classes,
        added=_added(borrowed, classes),
        similarity=_similarity(borrowed, target),
    )


def _chosen_classes(borrowed: Borrowed) -> dict[str, tuple[str, ...]]:
    """The classes of the chosen tasks, by source."""
    pool, chosen = borrowed.related.pool, borrowed.candidates.take(borrowed.trace.taken)
    found: dict[str, list[str]] = {}
    for c in np.unique(chosen.slot_class[chosen.slots]).tolist():
        source = int(np.searchsorted(pool.class_starts, c, side="right") - 1)
        found.setdefault(pool.sources[source].name, []).append(pool.class_names[c])
    return {name: tuple(names) for name, names in sorted(found.items())}


def _added(borrowed: Borrowed, classes: Mapping[str, tuple[str, ...]]) -> tuple[Added, ...]:
    """Each source that something was chosen from, with the coverage after its last chosen task."""
    rows = [row for row in borrowed.trace.table.to_pylist() if row["taken"]]
    chosen = borrowed.candidates.take(borrowed.trace.taken)
    made = []
    for name, names in classes.items():
        mine = [i for i in range(len(chosen)) if borrowed.related.sources_of(chosen.take([i])) == (name,)]
        count = int(chosen.count[np.unique(np.concatenate([chosen.slots_of(i) for i in mine]))].sum()) if mine else 0
        coverage = rows[mine[-1]]["coverage"] if mine else float("nan")
        made.append(Added(name=name, classes=len(names), rows=count, coverage=None if np.isnan(coverage) else coverage))
    return tuple(made)


def _similarity(borrowed: Borrowed, target: Target) -> Similarity | None:
    """Cosines of class means: the target's classes beside those chosen classes of the pool that are most like one of them."""
    pool, chosen = borrowed.related.pool, borrowed.candidates.take(borrowed.trace.taken)
    slots = np.unique(chosen.slots)
    ours = torch.stack([_mean(target.features, target.support[target.labels[target.support] == k]) for k in range(len(target.class_names))])
    theirs = torch.stack(
        [_mean(borrowed.related.features, chosen.order[chosen.start[s] : chosen.start[s] + chosen.count[s]]) for s in slots]
    )
    cosine: Floats = (ours @ theirs.T).double().numpy()
    first = np.argsort(-cosine.max(0), kind="stable")[:POOL_CLASSES]
    ids = chosen.slot_class[slots[first]]
    sources = [pool.sources[int(np.searchsorted(pool.class_starts, c, side="right") - 1)].name for c in ids.tolist()]
    return Similarity(
        cosine=cosine[:, first], target=target.class_names, pool=tuple(pool.class_names[c] for c in ids.tolist()), source=tuple(sources)
    )


def _mean(features: Tensor, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """The mean of unit features, as a unit vector."""
    unit = torch.nn.functional.normalize(features[torch.from_numpy(rows)].float(), dim=-1)
    return torch.nn.functional.normalize(unit.mean(0), dim=-1)
