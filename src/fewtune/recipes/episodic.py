"""Train what you test: episodes of the source are answered by a head, and its loss on the query rows moves the weights.

Every recipe here is one phase. Settings that work are in docs/reproductions.md (MobileNetV2, SGD with momentum 0.9).
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Unpack

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.parts.heads import BlackBox, Centroid, Matching, Relation, Ridge, Svm
from fewtune.parts.heads.head import Head
from fewtune.parts.losses import AtMost, Loss
from fewtune.parts.losses.at_most import MULTIPLIERS
from fewtune.parts.optimizers import Adam
from fewtune.parts.plan import Plan, upper_or_all
from fewtune.recipes.pieces import MOMENTUM, as_head, sampled, train_all
from fewtune.recipes.shared_defaults import defaults
from fewtune.recipes.shared_settings import Answer, Episodic
from fewtune.tasks.chosen import Again, Chosen, Selection


@defaults(ways=15, shots=1, queries=9, steps=200, batch=1, lr=1e-3, optimizer=MOMENTUM)
def multitask(
    *,
    head: Answer = None,
    selection: Selection | None = None,
    again: int = 0,
    last: int = 0,
    constraint: Loss | None = None,
    most: float = math.inf,
    multiplier_lr: float = 0.1,
    **settings: Unpack[Episodic],
) -> Method:
    """Multitask finetuning: theta <- theta - lr grad CE(temperature x cosine(f(query), prototypes of f(support))), temperature too.

    `head` answers test episodes: a head or a frozen recipe such as `ridge(penalty=10)`. By default the head of training, with the
    temperature that it learned. `selection`, such as `consistency_diversity()`, chooses the tasks to train on for the target
    (algorithm 1 of the paper); `again`: how often it chooses anew on the way, by the features trained so far, after equal parts of the
    steps. `last`: only the last so many groups of the backbone move; 0 moves all. `constraint`, such as
    `SupervisedContrast()`: a pretraining loss on the query rows that is kept at `most` or below while the tasks are learned (their
    constrained form); its multiplier moves at `multiplier_lr` (see `AtMost`).
    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024 (15 ways, 1 + 9 rows, 200
    tasks x 10 epochs, SGD .9, lr 1e-5 for CLIP and 1e-6 for DINOv2). Departs: features are normalised before they are averaged, and every
    step draws new tasks instead of ten epochs over the same ones.

    >>> multitask(steps=6, lr=1e-3).phases[0].steps
    6
    >>> multitask(head=ridge(penalty=10)).learner.penalty
    10
    >>> multitask(constraint=SupervisedContrast(), most=2.0).phases[0].losses[1].most
    2.0
    """
    sampler = sampled(settings) if selection is None else Chosen(sampler=sampled(settings), selection=selection)
    phase = replace(train_all(sampler, Centroid(), settings), plan=upper_or_all(settings["lr"], last))
    if constraint is not None:
        plan = replace(phase.plan, rules=((f"{MULTIPLIERS}.*", multiplier_lr), *phase.plan.rules))
        phase = replace(phase, plan=plan, losses=(*phase.losses, AtMost(loss=constraint, most=most)))
    return Method(phases=_chosen_anew(phase, selection, again), learner=as_head(head) or Centroid())


def _chosen_anew(phase: Phase, selection: Selection | None, times: int) -> tuple[Phase, ...]:
    """The phase in `times` + 1 equal parts, of which each but the first begins with a choice of its own; as it is without a selection."""
    if not 0 <= times < phase.steps:
        raise InputError(f"again is how often a selection chooses anew, at least 0 and below the {phase.steps} steps, found {times}.")
    if selection is None or not times or not isinstance(phase.sampler, Chosen):
        return (phase,)
    ends = [phase.steps * part // (times + 1) for part in range(times + 2)]
    first, *later = (replace(phase, steps=end - begin) for begin, end in pairwise(ends))
    anew = replace(phase.sampler, selection=Again(selection=selection))
    return (first, *(replace(one, sampler=anew) for one in later))


@defaults(ways=20, shots=1, queries=5, steps=1000, batch=1, lr=1e-3, optimizer=Adam())
def protonet(**settings: Unpack[Episodic]) -> Method:
    """Prototypical networks: as `multitask`, by squared Euclidean distance to the prototypes.

    Reference: Snell, Swersky, Zemel, NeurIPS 2017 (Adam 1e-3, more ways in training than in testing). Departs: the temperature is learned.

    >>> protonet(ways=60).phases[0].sampler.ways
    60
    """
    return _episodic(Centroid(metric="euclidean"), settings)


@defaults(ways=15, shots=1, queries=9, steps=200, batch=1, lr=1e-3, optimizer=MOMENTUM)
def matching_networks(**settings: Unpack[Episodic]) -> Method:
    """Matching networks: attention over the support rows, with the gradient through it.

    Reference: Vinyals et al., NeurIPS 2016. Departs: no full-context embedding; a learned temperature.

    >>> matching_networks(shots=5).learner == Matching()
    True
    """
    return _episodic(Matching(), settings)


@defaults(ways=5, shots=5, queries=6, steps=200, batch=8, lr=1e-3, optimizer=MOMENTUM)
def r2d2(*, penalty: float = 1.0, **settings: Unpack[Episodic]) -> Method:
    """R2D2: cross-entropy on the query through ridge regression on the support; `penalty` (above 0) and scale are learned from here.

    Reference: Bertinetto et al., ICLR 2019; the batch of 8 episodes is MetaOptNet's. Departs: unit features, so the penalty starts at 1.

    >>> r2d2(penalty=0.5).learner.penalty
    0.5
    """
    return _episodic(Ridge(penalty=penalty, scale=10.0), settings)


@defaults(ways=5, shots=5, queries=6, steps=200, batch=8, lr=1e-3, optimizer=MOMENTUM)
def metaoptnet(*, C: float = 0.1, **settings: Unpack[Episodic]) -> Method:
    """MetaOptNet: cross-entropy on the query through a support vector machine, by the implicit function theorem; the scale is learned.

    `C`, above 0, is the weight of the training errors.
    Reference: Lee et al., CVPR 2019 (SGD .9 with Nesterov, 8 episodes a batch). Departs: the dual is solved to the end, features are unit
    vectors.

    >>> metaoptnet(C=1.0).learner.C
    1.0
    """
    return _episodic(Svm(C=C, scale=10.0), settings)


@defaults(ways=5, shots=5, queries=10, steps=1000, batch=8, lr=1e-3, optimizer=Adam())
def relation_network(*, width: int = 64, backbone_lr: float = 0.0, **settings: Unpack[Episodic]) -> Method:
    """Relation network: a small network compares queries with class means, and is trained by episodes of the source.

    `lr` is the rate of the head; `backbone_lr`, 0 or more, that of the backbone: at 0 its features are computed once.
    Reference: Sung et al., CVPR 2018. Departs: see `Relation`.

    >>> relation_network(width=32).learner.width
    32
    """
    return _read(Relation(width=width), backbone_lr, settings)


@defaults(ways=5, shots=5, queries=10, steps=1000, batch=8, lr=1e-3, optimizer=Adam())
def black_box(*, width: int = 64, depth: int = 2, backbone_lr: float = 0.0, **settings: Unpack[Episodic]) -> Method:
    """A black-box meta-learner: a small transformer reads the support set, features and labels, and is trained by episodes of the source.

    `lr` is the rate of the head; `backbone_lr`, 0 or more, that of the backbone: at 0 its features are computed once.
    Reference: Mishra et al., ICLR 2018 (SNAIL); Garnelo et al., ICML 2018. Departs: see `BlackBox`.

    >>> black_box(depth=1).learner.depth
    1
    """
    return _read(BlackBox(width=width, depth=depth), backbone_lr, settings)


def _read(head: Head, backbone_lr: float, settings: Episodic) -> Method:
    """A head that is trained at the rate given, above a backbone at its own."""
    phase = train_all(sampled(settings), head, settings)
    plan = Plan(rules=((f"{head.name}.*", settings["lr"]), ("*", backbone_lr)))
    return Method(phases=(replace(phase, plan=plan),), learner=head)


def _episodic(head: Head, settings: Episodic) -> Method:
    """The same head in training and in testing."""
    return Method(phases=(train_all(sampled(settings), head, settings),), learner=head)


EPISODIC = (multitask, protonet, matching_networks, r2d2, metaoptnet, relation_network, black_box)
