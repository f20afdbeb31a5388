"""The contents of the main job's HTML page, as plain data. Everything but the verdict is optional.

Accuracies, recalls, gains and differences are fractions (0.03 is three points), never percent. NaN and None mean "not known".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.adaptation.verdict import Verdict
from fewtune.learners.forecast import Forecast
from fewtune.sides.clock import Stage
from fewtune.sides.guard import Guard
from fewtune.statistics import Coverage, Interval

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Truths: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

Shown: TypeAlias = bytes | str | None
"""How a row is shown: PNG or JPEG bytes, a short text, or nothing (vectors). See `thumbnails.thumbnail`."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MethodRow:
    """One learner on held-out rows. `difference`: the chosen learner's accuracy minus this one's, None for the chosen one.

    `p`: of the paired test of that difference, adjusted for having picked the best. `folds`: which folds it answered, in words; numbers of
    different folds cannot be compared.
    """

    name: str
    kind: Literal["frozen", "finetuned"]
    accuracy: float
    interval: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    chosen: bool = False
    folds: str = ""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Looked:
    """One candidate task or class of the selection. `coverage`: of what is chosen so far together with it; `gain`: what it adds to that."""

    name: str
    source: str
    similarity: float
    coverage: float
    gain: float
    taken: bool
    reason: str = ""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Added:
    """What one source data set added. `coverage`: with it and those before it; `accuracy`: how it changed, if that was measured."""

    name: str
    classes: int
    rows: int
    coverage: float | None = None
    accuracy: Interval | float | None = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity:
    """Cosines [K, P] of the means of the K target classes and of P chosen source classes; `source` [P]: the data set of each; `own` [K, K]:
    the cosines of the target's classes with each other, empty where they are not known."""

    cosine: Floats
    target: tuple[str, ...]
    chosen: tuple[str, ...]
    source: tuple[str, ...] = ()
    own: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        assert self.cosine.shape == (len(self.target), len(self.chosen)) and self.own.shape in ((0, 0), (len(self.target),) * 2)
        assert len(self.source) in (0, len(self.chosen))


@final
@dataclass(frozen=True, kw_only=True)
class Suited:
    """A group of tasks, the chosen ones or others for comparison: how many, their mean similarity to the target, and its coverage."""

    name: str
    tasks: int
    similarity: float
    coverage: float


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """Which source data was chosen: `trace` in the order looked at, the chosen `classes` of each source, what each source `added`.

    `beside`: the chosen tasks, as many random ones and all candidates, by the same numbers.
    """

    sentence: str = ""
    trace: tuple[Looked, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added: tuple[Added, ...] = ()
    beside: tuple[Suited, ...] = ()
    similarity: Similarity | None = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """A training run: `loss` at `steps` [n], and accuracy at `validation_steps` [m]."""

    label: str
    steps: Floats | Integers
    loss: Floats
    validation_steps: Floats | Integers = field(default_factory=lambda: np.zeros(0))
    validation: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        assert len(self.steps) == len(self.loss) and len(self.validation_steps) == len(self.validation)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """A row as the page shows it."""

    name: str
    shown: Shown = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Confused:
    """Rows of class `true` answered as `predicted` (both integers into the class names), for a bad cell of the confusion matrix."""

    true: int
    predicted: int
    examples: tuple[Example, ...]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Confusion:
    """Held-out answers [K, K], true by predicted, as counts (mean counts over repeats need not be whole)."""

    counts: Floats
    class_names: tuple[str, ...]
    examples: tuple[Confused, ...] = ()

    def __post_init__(self) -> None:
        assert self.counts.shape == (len(self.class_names),) * 2


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Doubt:
    """A row to look at again: its `given` label ("" where it has none), the model's `answered` one, and the probability of that answer."""

    name: str
    given: str
    answered: str
    probability: float
    shown: Shown = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Maps:
    """Places of rows in the plane [N, 2] before finetuning and, where it was kept or tried, after (see `maps.maps_2d`).

    `labels` [N] index `names`, -1 for none; `from_sources` [N]: which rows are of the sources rather than the target.
    """

    before: Floats
    labels: Integers
    names: tuple[str, ...]
    after: Floats | None = None
    from_sources: Truths | None = None
    method: str = "t-SNE"

    def __post_init__(self) -> None:
        n = len(self.labels)
        assert self.before.shape == (n, 2) and (self.after is None or self.after.shape == (n, 2))
        assert self.from_sources is None or len(self.from_sources) == n


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Leak:
    """A source row that was left out because it is nearly the same as a target row. `how`: what found it; `distance`: in the units of
    `how`.
    """

    source_row: str
    target_row: str
    how: str
    distance: float
    source_shown: Shown = None
    target_shown: Shown = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """All that the page says. `verdict`: what everyone should read first; `details`: the sentences under it; `kept`: which model it ended
    with. `modality`: of the examples ("image", "text", "vector").

    `coverage`: accuracy on the surest held-out answers; `threshold`: the probability below which no label is given. `decision`: what the
    guard decided, in a sentence. `mislabelled`, `leaks`: None = not looked for, () = none found. `budget`: one
    sentence. `skipped`: (row, reason). `commands`: what to type next.
    """

    verdict: Verdict
    kept: Literal["finetuned", "frozen"]
    details: tuple[str, ...] = ()
    modality: str = "image"
    title: str = "Adapted model"
    methods: tuple[MethodRow, ...] = ()
    guard: Guard | None = None
    decision: str = ""
    selection: Selection | None = None
    curves: tuple[Curve, ...] = ()
    confusion: Confusion | None = None
    uncertain: tuple[Doubt, ...] = ()
    mislabelled: tuple[Doubt, ...] | None = None
    maps: Maps | None = None
    forecast: Forecast | None = None
    coverage: Coverage | None = None
    threshold: float = 0.0
    leaks: tuple[Leak, ...] | None = None
    stages: tuple[Stage, ...] = ()
    budget: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
