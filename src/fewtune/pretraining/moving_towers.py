"""Both towers of an aligned pair go on learning by contrast, with the projections: low-rank changes of them, or all of their weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import LoRA, edited
from fewtune.backbones.providers.pair_provider import PROJECTION
from fewtune.backbones.scale import with_scale
from fewtune.data.examples import Column, Examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained, train
from fewtune.parts.heads.paired import MOST
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Cosine
from fewtune.pretraining.align_rows import PairedRows
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.by_contrast import head_and_loss
from fewtune.tasks.pooled import Pairs
from fewtune.tasks.task import class_rows

TEXT = "text"  # the label column of texts


def towers_moved(
    pair: Backbone, rows: PairedRows, good: np.ndarray[Any, np.dtype[np.bool_]], settings: AlignSettings, *, quiet: bool = True
) -> tuple[Backbone, Trained]:
    """The pair after `settings.tower_steps` updates, with the scale of the cosines that was learned, and how it was trained.

    Rows for validation are not learned from, nor those that are not `good` [N], which cannot be read."""
    edits = (LoRA(rank=4, alpha=4.0),) if settings.towers == "lora" else ()
    ground = Ground(pair, RowSpace(_labelled(rows, good)), edits)
    rate = Cosine(lr=settings.tower_lr * (100 if edits else 1))  # factors begin at zero and move faster
    rules = ((f"group:{PROJECTION}", Cosine(lr=settings.tower_lr)), ("head.*", Cosine(lr=settings.lr)))
    last = (("lora.*", rate), ("*", 0.0)) if edits else (("*", rate),)
    head, loss = head_and_loss(settings, rows.prompts)
    head = replace(head, temperature=min(pair.logit_scale, MOST))
    phase = Phase(
        sampler=Pairs(batch=settings.tower_batch),
        learner=head,
        plan=Plan(rules=(*rules, *last)),
        steps=settings.tower_steps,
        losses=(loss,),
        optimizer=AdamW(weight_decay=1e-4),
        clip=1.0,
    )
    trained = train(ground, (phase,), class_rows(ground.space), key(settings.seed, "align", "towers"), label="aligning towers", quiet=quiet)
    weights = edited(edits, {n: t for n, t in trained.weights.items() if n in ground.names}) if edits else trained.weights
    made = pair.with_weights({n: weights[n].detach() for n in pair.start()})
    return replace(with_scale(made, head.scale(ground.read(head, trained.weights))), origin=None), trained


def _labelled(rows: PairedRows, good: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Examples]:
    """The collections with their texts as the classes to learn; rows that are not to be learned from have none."""
    found, first = [], 0
    for one in rows.sources:
        mine = slice(first, first + len(one))
        values = np.where((rows.held[mine] & rows.apart) | ~good[mine], -1, rows.own[mine])
        used, inverse = np.unique(values[values >= 0], return_inverse=True)
        values = values.copy()
        values[values >= 0] = inverse
        column = Column("class", values, tuple(rows.texts[text] for text in used))
        found.append(replace(one, columns={**one.columns, TEXT: column}, target=TEXT, class_split=np.full(len(used), -1)))
        first += len(one)
    return found
