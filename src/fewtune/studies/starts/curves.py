"""Feature reuse: learning curves from several starts, on whole photos and on shuffled blocks; height and speed read apart.

What a start brings when the blocks of all photos are shuffled alike cannot come from shapes larger than a block.
Reference: Neyshabur, Sedghi, Zhang, "What is being transferred in transfer learning?", NeurIPS 2020, section 3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.views.views import BlockShuffle
from fewtune.errors import Diverged, InputError, unknown
from fewtune.keys import check_seeds, key
from fewtune.spec import digest, text
from fewtune.statistics.intervals import Interval
from fewtune.statistics.paired import paired_interval
from fewtune.studies.starts.finetuning import Finetuned, Finetuning, Flags, Seen, finetuned
from fewtune.transfer import Convergence, convergence

WHOLE = 0
"""Instead of the size of blocks: the photo as it is."""


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """One run: `right` [P, M] says which test rows are answered correctly after `steps` [P]. `block`: the side of the shuffled blocks in
    pixels, `WHOLE` where nothing is shuffled.
    """

    start: str
    block: int
    seed: int
    steps: tuple[int, ...]
    right: Flags

    def line(self, identity: str) -> str:
        """The run as a line of JSON."""
        said = {"identity": identity, "start": self.start, "block": self.block, "seed": self.seed, "steps": self.steps}
        rows = ["".join("01"[int(one)] for one in point) for point in self.right]
        return json.dumps({**said, "accuracy": self.right.mean(1).round(4).tolist(), "right": rows})

    @staticmethod
    def read(said: Mapping[str, Any]) -> Curve:
        """What `line` wrote."""
        right = np.array([[c == "1" for c in point] for point in said["right"]], dtype=bool)
        return Curve(said["start"], said["block"], said["seed"], tuple(said["steps"]), right)


@final
@dataclass(frozen=True, eq=False)
class StartCurves:
    """The runs of several starts on one data set, all with the same test rows. `chance`: the accuracy of guessing."""

    data: str
    chance: float
    curves: tuple[Curve, ...]

    def of(self, start: str, block: int = WHOLE) -> list[Curve]:
        """The runs of a start. Raises InputError where there are none."""
        found = [c for c in self.curves if (c.start, c.block) == (start, block)]
        if not found:
            raise unknown("start and block", f"{start}, {block}", [f"{c.start}, {c.block}" for c in self.curves])
        return found

    def rows(self, start: str, block: int = WHOLE) -> np.ndarray[Any, np.dtype[np.float64]]:
        """How often each test row is right [P, M], the mean over seeds."""
        return np.asarray(np.mean([c.right for c in self.of(start, block)], axis=0))

    def convergence(self, start: str, block: int = WHOLE, **how: Any) -> Convergence:
        """Final accuracy and steps to a share of it (`fewtune.transfer.convergence`); intervals over rows."""
        return convergence(self.of(start, block)[0].steps, self.rows(start, block), **{"chance": self.chance, **how})

    def gain(self, one: str, two: str, block: int = WHOLE) -> Interval:
        """By how much the final accuracy of one start is above that of another, paired over rows."""
        return paired_interval(self.rows(one, block)[-1] - self.rows(two, block)[-1])

    def ratio(self, one: str, two: str, block: int = WHOLE, *, resamples: int = 1000, seed: int = 0, **how: Any) -> Interval:
        """How many times as many steps the second start needs for its share as the first; a bootstrap over the same rows of both.

        NaN where the first begins converged.
        """
        steps, pair = self.of(one, block)[0].steps, (self.rows(one, block), self.rows(two, block))
        random, size = np.random.default_rng(seed), pair[0].shape[1]

        def once(rows: Any) -> float:
            first, second = (convergence(steps, p[:, rows].mean(1), **{"chance": self.chance, **how}).steps.mean for p in pair)
            return second / first if first > 0 else float("nan")

        drawn = np.array([once(random.integers(size, size=size)) for _ in range(resamples)])
        low, high = np.nanquantile(drawn, (0.025, 0.975), method="inverted_cdf") if np.isfinite(drawn).any() else (np.nan, np.nan)
        return Interval(once(slice(None)), float(low), float(high), 0.95, size, "bootstrap over rows")


def start_curves(
    starts: Mapping[str, Backbone],
    train: Examples,
    test: Examples,
    settings: Finetuning | Mapping[str, Finetuning],
    *,
    blocks: Sequence[int] = (WHOLE,),
    seeds: Sequence[int] = (0,),
    lines: Path | None = None,
    ended: Callable[[Curve, Finetuned], None] | None = None,
) -> StartCurves:
    """Finetune every start on `train` and answer `test` on the way, for each size of blocks and each seed of the order of rows.

    `settings`: one for all starts, or one for each by its name. `lines`: a file to which each finished run is added, a line of JSON each;
    runs that it holds already are read instead of run. `ended` is called with every new run and its weights. Raises InputError for starts
    of different classes or modalities, and for blocks larger than the photo.
    """
    of = settings if isinstance(settings, Mapping) else dict.fromkeys(starts, settings)
    check_seeds(seeds)
    if not starts:
        raise InputError("expected at least one start, found none.")
    if set(of) != set(starts):
        raise InputError(f"expected settings for each of the starts {', '.join(starts)}, found {', '.join(of)}.")
    if train.class_names != test.class_names:
        raise InputError(f"{train.name} and {test.name} have different classes: expected the same, to learn and to judge by.")
    if len({s.points for s in of.values()}) > 1:
        raise InputError("the curves of all starts are measured at the same steps: give them the same steps and watch.")
    known = {} if lines is None else _kept(lines)
    found = []
    for name, backbone in starts.items():
        for block in blocks:
            view = None if block == WHOLE else BlockShuffle(size=block)
            learned, asked = Seen(train, backbone, view), Seen(test, backbone, view)
            for seed in seeds:
                identity = _identity(backbone, train, test, of[name], block, seed)
                if identity not in known:
                    run = finetuned(learned, asked, of[name], key(seed, "starts"))
                    curve = Curve(name, block, seed, run.steps, run.right)
                    if ended is not None:
                        ended(curve, run)
                    if lines is not None:
                        with lines.open("a", encoding="utf-8") as file:
                            file.write(curve.line(identity) + "\n")
                    known[identity] = curve
                found.append(Curve(name, block, seed, known[identity].steps, known[identity].right))
    return StartCurves(train.name, 1 / len(train.class_names), tuple(found))


def best_rate(backbone: Backbone, train: Examples, settings: Finetuning, rates: Sequence[float], *, seed: int = 0) -> float:
    """The rate with the best final accuracy on a fifth of the training rows of each class, which the runs do not learn from; of equals the
    smaller one. A rate at which the loss is not finite is left out. Raises InputError where no class has five rows, and Diverged where no
    rate is left.
    """
    draws = key(seed, "rates").uniform(np.arange(len(train), dtype=np.uint64))
    order = np.lexsort((draws, train.labels))
    place = np.arange(len(train)) - np.searchsorted(train.labels[order], train.labels[order])
    held = np.sort(order[place % 5 == 4])
    if not len(held):
        raise InputError(f"{train.name} has no class with five rows: a rate cannot be chosen on a fifth of them.")
    learned, asked = Seen(train.take(np.setdiff1d(np.arange(len(train)), held)), backbone), Seen(train.take(held), backbone)
    each = {}
    for rate in sorted(rates):
        try:
            run = finetuned(learned, asked, replace(settings, rate=rate, watch=settings.steps), key(seed, "rates"))
        except Diverged:
            continue
        each[rate] = float(run.right[-1].mean())
    if not each:
        raise Diverged(f"the loss is not finite at any of the rates {', '.join(f'{r:g}' for r in rates)}: give smaller ones.")
    return max(each, key=lambda rate: (each[rate], -rate))


def _identity(backbone: Backbone, train: Examples, test: Examples, settings: Finetuning, block: int, seed: int) -> str:
    labels = [digest(" ".join(map(str, part.labels.tolist()))) for part in (train, test)]
    return digest(" ".join([backbone.digest(), train.digest(), test.digest(), *labels, text(settings), str(block), str(seed)]))


def _kept(lines: Path) -> dict[str, Curve]:
    """The runs of a file; a last line that was cut off is left out."""
    if not lines.exists():
        return {}
    found = {}
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            said = json.loads(line)
            found[said["identity"]] = Curve.read(said)
        except (ValueError, KeyError, TypeError):
            continue
    return found
