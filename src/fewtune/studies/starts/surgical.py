"""Which block for which shift: a network learned from source rows, of which one block alone is finetuned on a few shifted rows.

Reference: Lee, Chen, Tajwar, Kumar, Yao, Liang, Finn, "Surgical fine-tuning improves adaptation to distribution shifts", ICLR 2023: the
first block for shifts of the input, a middle one for shifts of features, the last one for shifts of the labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.keys import check_seeds, key
from fewtune.spec import digest, text
from fewtune.statistics.intervals import Interval
from fewtune.statistics.paired import paired_interval
from fewtune.studies.starts.finetuning import HEAD, Finetuning, Flags, Seen, Weights, finetuned

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
    settings: Finetuning | Mapping[str, Finetuning],
    *,
    seeds: Sequence[int] = (0,),
    lines: Path | None = None,
    ended: Callable[[str, str, Floats], None] | None = None,
) -> Surgery:
    """Learn the source by `learning`, then finetune each block alone on the first rows of each shift by `settings`, and answer the second.

    `shifts`: by name, (a few rows to learn from, rows to judge by) of the source's classes. `blocks`: by name, patterns of groups that move
    with the head; () is the head alone. `settings`: one for all blocks, or one for each by its name. `seeds`: of the order of rows, of the
    source too. `lines`: a file to which each finished pair of shift and block is added, a line of JSON each; pairs that it holds are read
    instead of run. `ended` is called with every new pair. Raises InputError for other classes, a block called "nothing", and what
    `finetuned` refuses.
    """
    check_seeds(seeds)
    if NOTHING in blocks:
        raise InputError(f"{NOTHING!r} is the network before it is finetuned: give that block another name.")
    for name, parts in shifts.items():
        if any(part.class_names != source.class_names for part in parts):
            raise InputError(f"the rows of shift {name} have other classes than {source.name}: expected the same, in the same order.")
    of = settings if isinstance(settings, Mapping) else dict.fromkeys(blocks, settings)
    if set(of) != set(blocks):
        raise InputError(f"expected settings for each of the blocks {', '.join(blocks)}, found {', '.join(of)}.")
    known = {} if lines is None else _kept(lines)
    found: dict[tuple[str, str], list[Any]] = {}
    for seed in seeds:
        start = _Start(backbone, source, learning, seed)
        for shift, parts in shifts.items():
            for block, patterns in {NOTHING: (), **blocks}.items():
                how = None if block == NOTHING else replace(of[block], groups=patterns, watch=of[block].steps)
                identity = start.identity(parts, how)
                if identity not in known:
                    known[identity] = start.operated(parts, how)
                    if lines is not None:
                        with lines.open("a", encoding="utf-8") as file:
                            file.write(_line(identity, shift, block, seed, known[identity]) + "\n")
                    if ended is not None:
                        ended(shift, block, np.asarray(known[identity], dtype=np.float64))
                found.setdefault((shift, block), []).append(known[identity])
    return Surgery({place: np.asarray(np.mean(each, axis=0)) for place, each in found.items()})


@final
@dataclass(frozen=True, eq=False)
class _Start:
    """What is learned from the source by one seed, when it is first asked for."""

    backbone: Backbone
    source: Examples
    learning: Finetuning
    seed: int

    @cached_property
    def _whole(self) -> Weights:
        known = Seen(self.source, self.backbone)
        return finetuned(known, known, replace(self.learning, watch=self.learning.steps), key(self.seed, "source")).weights

    @cached_property
    def _learned(self) -> Backbone:
        return self.backbone.with_weights({n: t for n, t in self._whole.items() if not n.startswith(HEAD)})

    def operated(self, parts: tuple[Examples, Examples], how: Finetuning | None) -> Flags:
        """Whether each row of the second part is right, after finetuning on the first one (None: without)."""
        few, asked = parts[0], Seen(parts[1], self._learned)
        if how is None:
            return np.asarray(asked.right(self._whole), dtype=bool)
        run = finetuned(Seen(few, self._learned), asked, how, key(self.seed, "surgery"), self._whole)
        return np.asarray(run.right[-1], dtype=bool)

    def identity(self, parts: tuple[Examples, Examples], how: Finetuning | None) -> str:
        """A digest of all that the answers depend on."""
        labels = [digest(" ".join(map(str, part.labels.tolist()))) for part in (self.source, *parts)]
        rows = [part.digest() for part in (self.source, *parts)]
        said = [text(self.learning), "" if how is None else text(how), str(self.seed)]
        return digest(" ".join([self.backbone.digest(), *rows, *labels, *said]))


def _line(identity: str, shift: str, block: str, seed: int, right: Flags) -> str:
    said = {"identity": identity, "shift": shift, "block": block, "seed": seed, "accuracy": round(float(right.mean()), 4)}
    return json.dumps({**said, "right": "".join("01"[int(one)] for one in right)})


def _kept(lines: Path) -> dict[str, Flags]:
    """The answers of a file; a last line that was cut off is left out."""
    found = {}
    for line in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else ():
        try:
            said = json.loads(line)
            found[said["identity"]] = np.array([one == "1" for one in said["right"]])
        except (ValueError, KeyError, TypeError):
            continue
    return found
