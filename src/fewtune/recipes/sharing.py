"""Several label columns learned at once, from nothing shared to everything: each recipe is one phase that trains one head over features.

`fewtune.learning.laid_out` fills in how many outputs each column has. `steps` updates, each of `batch` rows of every column that has
labels, whatever the sizes of the columns. Features are those of the backbone as it came unless `moves="all"`: then the backbone is
finetuned with the network, all of it or its `last` groups, at a rate of its own.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.parts.aggregators import Mean
from fewtune.parts.heads.head import Head
from fewtune.parts.losses import ByKind, Loss, SoftSharing, TaskRelation
from fewtune.parts.optimizers import Adam
from fewtune.parts.plan import Plan, Rule
from fewtune.parts.rates import Rate, Upper
from fewtune.parts.sharing import Additive, CrossStitch, Film, Gating, Independent, Mmoe, Mtan, SharedBottom, TaskQueries
from fewtune.parts.sharing.sharing import Descriptors
from fewtune.recipes.shared_defaults import defaults
from fewtune.recipes.shared_settings import Joint
from fewtune.tasks.per_task import PerTask

_JOINT = defaults(
    steps=500, batch=32, lr=3e-4, optimizer=Adam(), width=64, depth=1, aggregator=Mean(), moves="network", last=0, backbone_lr=None
)


@_JOINT
def independent(**settings: Unpack[Joint]) -> Method:
    """A network for each label column; nothing is shared. What every other recipe here is compared with.

    >>> independent(width=32).learner.width
    32
    """
    return _joint(Independent(**_hidden(settings)), settings)


@_JOINT
def shared_bottom(*, tower: int = 0, **settings: Unpack[Joint]) -> Method:
    """One trunk for all label columns, and the outputs of each on it (multi-head); with `tower`, after a hidden layer of that width.

    Reference: Caruana, "Multitask learning", Machine Learning 28, 1997.

    >>> shared_bottom(tower=16).learner.tower
    16
    """
    return _joint(SharedBottom(**_hidden(settings), tower=tower), settings)


@_JOINT
def additive(*, descriptors: Descriptors = (), **settings: Unpack[Joint]) -> Method:
    """One network whose first layer is told the column by a vector beside the features; `descriptors`, by default one-hot.

    Reference: concatenation, which is the same as adding a learned vector a task (`Additive`).

    >>> additive(depth=2).learner.depth
    2
    """
    return _joint(Additive(**_hidden(settings), descriptors=descriptors), settings)


@_JOINT
def film(*, descriptors: Descriptors = (), **settings: Unpack[Joint]) -> Method:
    """One network whose hidden units are scaled and shifted by the column; `descriptors`, a vector a column, by default one-hot.

    Reference: Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018.

    >>> film(steps=100).phases[0].steps
    100
    """
    return _joint(Film(**_hidden(settings), descriptors=descriptors), settings)


@_JOINT
def gating(*, share: float = 0.5, **settings: Unpack[Joint]) -> Method:
    """One network in which each column uses `width` units, of which the part `share` (0 to 1) is common to all columns.

    share 0 is `independent`, 1 is `shared_bottom` (see `Gating`).

    >>> gating(share=0.25).learner.share
    0.25
    """
    return _joint(Gating(**_hidden(settings), share=share), settings)


@_JOINT
def cross_stitch(*, keep: float = 0.9, stitch_lr: Rate | float = 1e-2, **settings: Unpack[Joint]) -> Method:
    """A network for each column, whose hidden layers are mixed by learned numbers: at first `keep` of the own one, the rest of the others.

    `stitch_lr`: the rate of these numbers. Reference: Misra et al., "Cross-stitch networks for multi-task learning", CVPR 2016 (100 to
    1,000 times the rate of the weights, with SGD). Departs: 10 times, with Adam.

    >>> cross_stitch(keep=0.8).learner.keep
    0.8
    """
    head = CrossStitch(**_hidden(settings), keep=keep)
    return _joint(head, settings, first=(("head.stitch.*", stitch_lr),))


@_JOINT
def mtan(**settings: Unpack[Joint]) -> Method:
    """One trunk, and for each column attention masks on its layers.

    Reference: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019. Departs: see `Mtan`.

    >>> mtan().learner == Mtan()
    True
    """
    return _joint(Mtan(**_hidden(settings)), settings)


@_JOINT
def mmoe(*, experts: int = 4, tower: int = 0, dropout: float = 0.0, **settings: Unpack[Joint]) -> Method:
    """`experts` networks that all columns share, mixed by a softmax gate for each column (multi-gate mixture of experts).

    `dropout`: in training each expert of a gate is left out with this probability, so that no gate comes to rest on one expert.
    Reference: Ma et al., KDD 2018; Zhao et al., RecSys 2019 (dropout .1).

    >>> mmoe(experts=8).learner.experts
    8
    """
    head = Mmoe(**_hidden(settings), experts=experts, tower=tower, dropout=dropout)
    return _joint(head, settings)


@_JOINT
def deep_relation(*, tower: int = 32, strength: float = 1e-2, **settings: Unpack[Joint]) -> Method:
    """As `shared_bottom` with towers, whose weights have a prior that learns which columns are related (`TaskRelation`).

    Reference: Long et al., "Learning multiple tasks with multilinear relationship networks", NeurIPS 2017. Departs: see `TaskRelation`.

    >>> deep_relation(strength=0.1).phases[0].losses
    (ByKind(), TaskRelation(strength=0.1, modes='tasks', flips=2, epsilon=0.001, names='head.tower.weight'))
    """
    head = SharedBottom(**_hidden(settings), tower=tower)
    return _joint(head, settings, more=(TaskRelation(strength=strength),))


@_JOINT
def task_queries(*, tokens: int = 8, descriptors: Descriptors = (), **settings: Unpack[Joint]) -> Method:
    """A query for each column attends over `tokens` learned chunks of the features; `descriptors`, by default one-hot.

    Reference: Jaegle et al., "Perceiver IO", ICLR 2022. Departs: see `TaskQueries`.

    >>> task_queries(tokens=4).learner.tokens
    4
    """
    return _joint(TaskQueries(**_hidden(settings), tokens=tokens, descriptors=descriptors), settings)


@_JOINT
def soft_sharing(*, strength: float = 1e-3, squared: bool = False, **settings: Unpack[Joint]) -> Method:
    """A network for each column, and a penalty of `strength` times the distances between their hidden weights (or their squares).

    Reference: Duong et al., ACL 2015 (squared). Strength 0 is `independent`.

    >>> soft_sharing(strength=0.1).phases[0].losses
    (ByKind(), SoftSharing(strength=0.1, squared=False, names='head.trunk.*'))
    """
    head = Independent(**_hidden(settings))
    return _joint(head, settings, more=(SoftSharing(strength=strength, squared=squared),))


class _Hidden(TypedDict):
    width: int
    depth: int


def _hidden(settings: Joint) -> _Hidden:
    return {"width": settings["width"], "depth": settings["depth"]}


def _joint(head: Head, settings: Joint, *, more: tuple[Loss, ...] = (), first: tuple[Rule, ...] = ()) -> Method:
    """One phase that trains the head, and the backbone too where all moves."""
    below = _below(settings) if settings["moves"] == "all" else (("*", 0.0),)
    phase = Phase(
        sampler=PerTask(batch=settings["batch"]),
        learner=head,
        plan=Plan(rules=(*first, ("head.*", settings["lr"]), *below)),
        steps=settings["steps"],
        losses=(ByKind(), *more),
        aggregator=settings["aggregator"],
        optimizer=settings["optimizer"],
    )
    return Method(phases=(phase,), learner=head)


def _below(settings: Joint) -> tuple[Rule, ...]:
    """How fast the backbone moves: all of it, or its last groups."""
    rate, last = settings["backbone_lr"] if settings["backbone_lr"] is not None else settings["lr"], settings["last"]
    return (("*", rate),) if not last else (("group:*", Upper(rate=rate, groups=last)), ("*", 0.0))


SHARING = (
    independent,
    shared_bottom,
    additive,
    film,
    gating,
    cross_stitch,
    mtan,
    mmoe,
    deep_relation,
    task_queries,
    soft_sharing,
)
