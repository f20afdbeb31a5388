"""Both towers of an aligned pair go on learning by contrast, with the projections: low-rank changes of them, or all of their weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import LoRA, edited
from fewtune.backbones.providers.pair_provider import PROJECTION
from fewtune.data.examples import Column
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Cosine
from fewtune.pretraining.align_rows import PairedRows
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.by_contrast import head_and_loss
from fewtune.tasks.pooled import Pairs
from fewtune.tasks.task import class_rows

TEXT = "text"  # the label column of texts


def towers_moved(pair: Backbone, rows: PairedRows, settings: AlignSettings, *, quiet: bool = True) -> tuple[Backbone, float]:
    """The pair after `settings.tower_steps` updates, and the scale of the cosines. Rows that are held out of validation classes are not
    learned from."""
    edits = (LoRA(rank=4, alpha=4.0),) if settings.towers == "lora" else ()
    ground = Ground(pair, RowSpace(_labelled(rows)), edits)
    rate = Cosine(lr=settings.tower_lr * (100 if edits else 1))  # factors begin at zero and move faster
    rules = ((f"group:{PROJECTION}", Cosine(lr=settings.tower_lr)), ("head.*", Cosine(lr=settings.lr)))
    last = (("lora.*", rate), ("*", 0.0)) if edits else (("*", rate),)
    head, loss = head_and_loss(settings, rows.prompts)
    head = replace(head, temperature=min(pair.logit_scale, 100.0))
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
    scale = float(ground.read(head, trained.weights)[f"{head.name}.log_temperature"].exp())
    start = pair.start()
    moved = {n: weights[n].detach() for n in start} | {"logit_scale": start["logit_scale"].new_tensor(scale).log()}
    return replace(pair.with_weights(moved), origin=None), scale


def _labelled(rows: PairedRows) -> list:  # type: ignore[type-arg]
    """The collections with their texts as the classes to learn; rows of validation classes have none."""
    found, first = [], 0
    for one in rows.sources:
        mine = slice(first, first + len(one))
        values = np.where(rows.held[mine] & rows.apart, -1, rows.own[mine])
        used, inverse = np.unique(values[values >= 0], return_inverse=True)
        values = values.copy()
        values[values >= 0] = inverse
        column = Column("class", values, tuple(rows.texts[text] for text in used))
        found.append(replace(one, columns={**one.columns, TEXT: column}, target=TEXT, class_split=np.full(len(used), -1)))
        first += len(one)
    return found
