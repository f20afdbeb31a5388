"""Which block for which shift: a network learned from source rows, of which one block alone is finetuned on a few shifted rows.

Reference: Lee, Chen, Tajwar, Kumar, Yao, Liang, Finn, "Surgical fine-tuning improves adaptation to distribution shifts", ICLR 2023: the
first block for shifts of the input, a middle one for shifts of features, the last one for shifts of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.statistics.intervals import Interval
from fewtune.statistics.paired import paired_interval
from fewtune.studies.starts.finetuning import HEAD, Finetuning, Seen, finetuned

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

NOTHING = "nothing"
"""The network as it was learned from the source."""


@final
@dataclass(frozen=True, eq=False)
class Surgery:
    """`right` [M] by (shift, block): how often each test row of the shift is right, the mean over seeds; `NOTHING` among the blocks."""

    right: Mapping[tuple[str, str], Floats]

    def gain(self, shift: str, block: str, over: str = NOTHING) -> Interval:
        """By how much accuracy under a shift is above that of another block, paired over rows."""
        return paired_interval(self.right[shift, block] - self.right[shift, over])

    def best(self, shift: str) -> str:
        """The block with the best accuracy on test rows: what was measured, not a choice that one could make."""
        mine = {block: float(values.mean()) for (of, block), values in self.right.items() if of == shift}
        return max(mine, key=lambda block: mine[block])


def surgical_study(
    backbone: Backbone,
    source: Examples,
    shifts: Mapping[str, tuple[Examples, Examples]],
    blocks: Mapping[str, tuple[str, ...]],
    learning: Finetuning,
    settings: Finetuning,
    *,
    seeds: Sequence[int] = (0,),
    ended: Callable[[str, str, Floats], None] | None = None,
) -> Surgery:
    """Learn the source by `learning`, then finetune each block alone on the first rows of each shift by `settings`, and answer the second.

    `shifts`: by name, (a few rows to learn from, rows to judge by) of the source's classes. `blocks`: by name, patterns of groups that move
    with the head; () is the head alone. `seeds`: of the order of rows, of the source too. `ended` is called with every finished pair.
    Raises InputError for other classes, a block called "nothing", and what `finetuned` refuses.
    """
    if NOTHING in blocks:
        raise InputError(f"{NOTHING!r} is the network before it is finetuned: give that block another name.")
    for name, parts in shifts.items():
        if any(part.class_names != source.class_names for part in parts):
            raise InputError(f"the rows of shift {name} have other classes than {source.name}: expected the same, in the same order.")
    found: dict[tuple[str, str], list[Any]] = {}
    for seed in seeds:
        known = Seen(source, backbone)
        whole = finetuned(known, known, replace(learning, watch=learning.steps), key(seed, "source")).weights
        learned = backbone.with_weights({n: t for n, t in whole.items() if not n.startswith(HEAD)})
        for shift, (few, test) in shifts.items():
            asked = Seen(test, learned)
            found.setdefault((shift, NOTHING), []).append(asked.right(whole))
            for block, patterns in blocks.items():
                how = replace(settings, groups=patterns, watch=settings.steps)
                run = finetuned(Seen(few, learned), asked, how, key(seed, "surgery"), whole)
                found.setdefault((shift, block), []).append(run.right[-1])
                if ended is not None:
                    ended(shift, block, np.asarray(run.right[-1], dtype=np.float64))
    return Surgery({place: np.asarray(np.mean(each, axis=0)) for place, each in found.items()})
