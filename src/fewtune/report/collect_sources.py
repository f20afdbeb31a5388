"""What the page shows of the sources: the chosen tasks, the training runs, and the rows that are in a source and in the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Examples
from fewtune.learners.target import Target
from fewtune.report.findings import Added, Curve, Floats, Leak, Looked, Selection, Shown, Similarity, Suited
from fewtune.report.thumbnails import thumbnail
from fewtune.sources.outcome import SourceOutcome
from fewtune.tasks.selection import Evidence, beside
from fewtune.words import counted

LEAKS = 12  # shown
SOURCE_CLASSES = 30  # of the similarity map: those most like a class of the target


def shown_row(examples: Examples, row: int) -> Shown:
    """How a row of a collection is shown; nothing if it cannot be read."""
    try:
        return thumbnail(examples.items.fetch(row, 128))
    except ValueError:
        return None


def curves_of(used: SourceOutcome) -> tuple[Curve, ...]:
    """Two runs: the trial of the chosen learning rate, with its accuracy on validation tasks, and the run that made the finetuned
    backbone.
    """
    tuned = used.tuned
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


def leaks_of(used: SourceOutcome, target: Target) -> tuple[Leak, ...]:
    """The first few pairs of rows that a source and the target share."""
    marked = {source.name: source for source in used.source_rows.marked}
    return tuple(
        Leak(
            source_row=f"{leak.source}: {marked[leak.source].row_names[leak.row]}",
            target_row=target.examples.row_names[leak.target],
            how=leak.how,
            distance=leak.distance,
            source_shown=shown_row(marked[leak.source], leak.row),
            target_shown=shown_row(target.examples, leak.target),
        )
        for leak in used.source_rows.leaks[:LEAKS]
    )


def selection_of(used: SourceOutcome, target: Target) -> Selection:
    """Every candidate task that was considered, and the classes of the chosen ones."""
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
        for row in used.trace.table.to_pylist()
    )
    classes = _chosen_classes(used)
    taken = sum(look.taken for look in trace)
    return Selection(
        sentence=f"{taken:,} of {counted(len(used.candidates), 'candidate task')} {'was' if taken == 1 else 'were'} chosen, "
        f"from {counted(len(classes), 'data set')}.",
        trace=trace,
        classes=classes,
        added=_added(used, classes),
        beside=_beside(used, target),
        similarity=_similarity(used, target),
    )


def _beside(used: SourceOutcome, target: Target) -> tuple[Suited, ...]:
    """The chosen tasks, as many random ones, and all of them, by the same numbers on frozen features."""
    features = used.source_rows.features
    evidence = Evidence(
        features=lambda rows: features[torch.from_numpy(rows)],
        target=target.features[torch.from_numpy(target.support)],
        target_label=torch.from_numpy(target.labels[target.support]),
    )
    named = {"chosen": "the chosen tasks", "random": "as many random ones (mean of ten draws)", "all": "all candidates"}
    return tuple(
        Suited(name=named[name], tasks=found.tasks, similarity=found.similarity, coverage=found.coverage)
        for name, found in beside(used.trace.taken, used.candidates, evidence).items()
    )


def _chosen_classes(used: SourceOutcome) -> dict[str, tuple[str, ...]]:
    """The classes of the chosen tasks, by source."""
    space, chosen = used.source_rows.space, used.candidates.take(used.trace.taken)
    found: dict[str, list[str]] = {}
    for c in np.unique(chosen.slot_class[chosen.slots]).tolist():
        source = int(np.searchsorted(space.class_starts, c, side="right") - 1)
        found.setdefault(space.sources[source].name, []).append(space.class_names[c])
    return {name: tuple(names) for name, names in sorted(found.items())}


def _added(used: SourceOutcome, classes: Mapping[str, tuple[str, ...]]) -> tuple[Added, ...]:
    """Each source that has a chosen task, with the coverage after its last chosen task."""
    rows = [row for row in used.trace.table.to_pylist() if row["taken"]]
    chosen = used.candidates.take(used.trace.taken)
    made = []
    for name, names in classes.items():
        mine = [i for i in range(len(chosen)) if used.source_rows.sources_of(chosen.take([i])) == (name,)]
        count = int(chosen.count[np.unique(np.concatenate([chosen.slots_of(i) for i in mine]))].sum()) if mine else 0
        coverage = rows[mine[-1]]["coverage"] if mine else float("nan")
        made.append(Added(name=name, classes=len(names), rows=count, coverage=None if np.isnan(coverage) else coverage))
    return tuple(made)


def _similarity(used: SourceOutcome, target: Target) -> Similarity | None:
    """Cosines of class means: the target's classes against the chosen source classes that are most similar to one of them."""
    space, chosen = used.source_rows.space, used.candidates.take(used.trace.taken)
    slots = np.unique(chosen.slots)
    ours = torch.stack([_mean(target.features, target.support[target.labels[target.support] == k]) for k in range(len(target.class_names))])
    theirs = torch.stack(
        [_mean(used.source_rows.features, chosen.order[chosen.start[s] : chosen.start[s] + chosen.count[s]]) for s in slots]
    )
    cosine: Floats = (ours @ theirs.T).double().numpy()
    first = np.argsort(-cosine.max(0), kind="stable")[:SOURCE_CLASSES]
    ids = chosen.slot_class[slots[first]]
    sources = [space.sources[int(np.searchsorted(space.class_starts, c, side="right") - 1)].name for c in ids.tolist()]
    return Similarity(
        cosine=cosine[:, first],
        target=target.class_names,
        chosen=tuple(space.class_names[c] for c in ids.tolist()),
        source=tuple(sources),
        own=(ours @ ours.T).double().numpy(),
    )


def _mean(features: Tensor, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """The mean of unit features, as a unit vector."""
    unit = torch.nn.functional.normalize(features[torch.from_numpy(rows)].float(), dim=-1)
    return torch.nn.functional.normalize(unit.mean(0), dim=-1)
