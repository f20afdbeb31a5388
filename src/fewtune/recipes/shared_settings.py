"""The settings that recipes share: each name is declared once, with its type, its meaning and its range.

A recipe takes a group of them as `**settings: Unpack[Group]` and says its own defaults in `@defaults(...)`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from fewtune.learning.method import Method
from fewtune.parts.aggregators import Aggregator
from fewtune.parts.heads.head import Head
from fewtune.parts.optimizers import Optimizer
from fewtune.parts.rates import Rate

BackboneRate: TypeAlias = Rate | float | None
Moves: TypeAlias = Literal["network", "all"]
On: TypeAlias = Literal["source", "support"]
Answer: TypeAlias = Head | Method | None


class Steps(TypedDict, total=False):
    """How long a phase trains."""

    steps: int
    """Updates of the weights, 0 or more."""
    batch: int
    """What one update sees, 1 or more: episodes where a recipe draws episodes, rows where it draws rows."""


class Rated(TypedDict, total=False):
    """How fast the weights move."""

    lr: Rate | float
    """The learning rate: a number, 0 or more (0 keeps the weights as they are), or a rate over time such as `Cosine(lr=1e-3)`."""


class Optimized(TypedDict, total=False):
    """How a gradient becomes an update."""

    optimizer: Optimizer
    """Such as `SGD(momentum=0.9)` or `AdamW()`. Its state is new in every phase."""


class Training(Steps, Rated, Optimized, total=False):
    """One phase of training."""


class Shape(TypedDict, total=False):
    """The support of an episode."""

    ways: int
    """Classes of an episode, 2 or more."""
    shots: int
    """Labelled rows of each class that a learner sees, 0 or more."""


class Draw(Shape, total=False):
    """The size of an episode."""

    queries: int
    """Rows of each class that the learner is asked about, 1 or more."""


class Episodic(Draw, Training, total=False):
    """Training on episodes."""


class InnerLoop(TypedDict, total=False):
    """The steps on the support of each episode."""

    inner_steps: int
    """Steps on the support, 0 or more."""
    inner_lr: float
    """Their learning rate, 0 or more."""


class Differentiated(Episodic, InnerLoop, total=False):
    """Training on episodes, with a gradient through an inner loop."""


class Displaced(Shape, InnerLoop, Steps, Rated, total=False):
    """Training on episodes by where an inner loop of Adam ends."""

    inner_batch: int
    """Rows of the support in one inner step; 0 means all of them."""
    test_steps: int
    """Inner steps on the support of a test episode, 0 or more."""


class AtTest(TypedDict, total=False):
    """Training on the support of a test episode, before the answer."""

    test_steps: int
    """Updates on the support, 0 or more."""
    test_lr: Rate | float
    """Their learning rate: a number, 0 or more, or a rate over time."""


class InSequenceThenTest(Training, AtTest, total=False):
    """Training on one task after the other, then on the support of a test episode."""


class DrawThenTest(Draw, AtTest, total=False):
    """The size of an episode, then training on the support of a test episode."""


class Place(Steps, Optimized, total=False):
    """Where the network is finetuned with a linear head, and for how long."""

    on: On
    """On "source", the labelled source data, in batches of rows; or on the "support" of each test episode, all its rows in each step."""
    head: Answer
    """What answers test episodes: a head, a frozen recipe such as `ridge(penalty=10)`, or None for the recipe's own."""


class Finetuning(Place, Rated, total=False):
    """Finetuning with one learning rate."""


class Upper(Finetuning, total=False):
    """Finetuning with one learning rate, of all weights or of the upper ones."""

    last: int
    """Only the last so many groups of the backbone move, and the head; 0 moves all. What lies deeper is computed once for each row."""


class UpperThenTest(Upper, AtTest, total=False):
    """Finetuning, then training on the support of a test episode."""


class Joint(Training, total=False):
    """One network for several label columns. `batch`: rows of each column in an update."""

    width: int
    """Units of a hidden layer, 1 or more."""
    depth: int
    """Hidden layers, 1 or more."""
    aggregator: Aggregator
    """How the columns' losses or gradients become one update, such as `Mean()` or `PcGrad()`."""
    moves: Moves
    """What is trained: the "network" over the backbone's features, or "all", the backbone too."""
    last: int
    """Of `moves="all"`: only the last so many groups of the backbone move; 0 moves all of it. What lies deeper is computed once a row."""
    backbone_lr: BackboneRate
    """Of `moves="all"`: the learning rate of the backbone, a number or a rate over time; None is `lr`."""
