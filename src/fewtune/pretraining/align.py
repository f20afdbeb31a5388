"""`align`: an image encoder and a text encoder become one image-text model, from images with captions or class names."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features
from fewtune.backbones.own_module import is_own
from fewtune.backbones.providers.pair_names import pair_name
from fewtune.backbones.providers.pair_provider import paired
from fewtune.backbones.scale import with_scale
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import refuse_existing
from fewtune.keys import key
from fewtune.learning.classes import class_vectors
from fewtune.learning.marks import Marks
from fewtune.lengths import unit
from fewtune.pretraining.align_rows import PairedRows, paired_rows
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.by_contrast import contrasted, projections_in, trained_by_contrast, weights_of
from fewtune.pretraining.closed_form import WAYS, Moments, Projections, Rows, best_scale, chosen_strengths
from fewtune.pretraining.moving_towers import towers_moved
from fewtune.pretraining.outcome import ALIGNMENT, Pretrained
from fewtune.pretraining.pretrain import PRETRAINED, Surroundings
from fewtune.pretraining.run import write_run
from fewtune.spec import digest
from fewtune.stopping import Stopped
from fewtune.words import counted, noun_of, one_line


@final
@dataclass(frozen=True, eq=False)
class Aligned:
    """What locked towers end with: the `projections`, the `scale` of cosines, and facts for the record."""

    projections: Projections
    scale: float
    facts: Mapping[str, Any]


def align_examples(
    examples: Sequence[Examples],
    image: Backbone,
    text: Backbone,
    settings: AlignSettings,
    keeping: Keeping,
    at: Surroundings = Surroundings(),  # noqa: B008  (frozen)
    cache: Path | None = None,
) -> Pretrained:
    """Align two towers and write the run into `keeping.out`. `cache`: the folder of feature tables.

    Raises InputError where the data has no texts or no images, a tower is of the wrong modality, or the folder is not to be written.
    """
    began = time.perf_counter()
    pair = _pair(examples, image, text)
    rows = paired_rows(examples, settings)
    told = (*rows.told, *_long(text, rows))
    for sentence in told:
        at.say(sentence)
    identity = digest("\n".join([f"align 1 {settings}", pair.digest(), *(f"{one.name} {one.digest()}" for one in rows.sources)]))
    assert keeping.out is not None
    refuse_existing(keeping.out, overwrite=keeping.overwrite)
    try:
        made, facts = _made(pair, rows, image, text, settings, cache, quiet=at.quiet)
    except Stopped:  # what it says is of runs that can be resumed
        raise Stopped from None
    record = _record(made, rows, settings, facts, told, time.perf_counter() - began)
    return Pretrained(made, write_run(keeping, identity, made, record, at.page(record)), record)


def _made(
    pair: Backbone, rows: PairedRows, image: Backbone, text: Backbone, settings: AlignSettings, cache: Path | None, *, quiet: bool
) -> tuple[Backbone, Mapping[str, Any]]:
    """The pair with what it learned, and the facts of how."""
    whole, good = _read(rows, image, text, cache, skip_bad=settings.skip_bad, quiet=quiet)
    found = aligned(*_divided(whole, good, rows), settings, apart=rows.apart, quiet=quiet)
    facts = dict(found.facts)
    made = replace(with_scale(pair.with_weights(weights_of(found.projections)), found.scale), origin=None)
    if settings.towers != "locked":
        made, trained = towers_moved(made, rows, good, settings, quiet=quiet)
        facts |= {"tower_steps": trained.steps, "visits": facts["visits"] + trained.visits}
    names = ", ".join(one.name for one in rows.sources)
    return replace(made, source={**made.source, PRETRAINED: f"aligned on {names}"}), facts


def aligned(fit: Rows, held: Rows | None, settings: AlignSettings, *, apart: bool, quiet: bool = True) -> Aligned:
    """Projections of locked towers: the closed form, then contrast for as many updates as held out texts find good.

    `apart`: whether the held out texts are never learned from. Else all rows are learned from in the end, with the settings that were
    chosen. The scale of the cosines is the one with the least loss on held out texts.
    """
    strengths = chosen_strengths(fit, held)
    start = Moments(fit).projections(*strengths)
    draws = key(settings.seed, "align", "contrast")
    ways = WAYS if held is None else min(WAYS, len(held.texts))
    facts: dict[str, Any] = {
        "strengths": list(strengths),
        "steps": 0,
        "visits": 0,
        "tower_steps": 0,
        "looks": [],
        "curve": [],
        "ways": ways,
    }
    if held is None:
        return Aligned(start, best_scale(start, fit), facts)
    trained = contrasted(fit, held, start, settings, draws, quiet=quiet)
    scale, made = best_scale(trained.projections, held), trained.projections
    facts |= {"steps": trained.steps, "visits": trained.visits}
    facts |= {"looks": [list(look) for look in trained.looks], "curve": list(trained.curve)}
    if not apart:
        whole = _joined(fit, held)
        made = Moments(whole).projections(*strengths)
        if trained.steps:
            made = _after(whole, made, settings, trained.steps, quiet=quiet)
    return Aligned(made, scale, facts)


def _after(rows: Rows, start: Projections, settings: AlignSettings, steps: int, *, quiet: bool) -> Projections:
    """The projections after `steps` of the updates on all rows."""
    kept: list[Projections] = []

    def look(_: int, weights: Mapping[str, Tensor]) -> Mapping[str, float]:
        kept.append(projections_in(weights))
        return {}

    trained_by_contrast(rows, start, settings, key(settings.seed, "align", "contrast"), Marks(frozenset({steps}), look), quiet=quiet)
    return kept[0]


def _pair(examples: Sequence[Examples], image: Backbone, text: Backbone) -> Backbone:
    """Both towers with projections into the space of the images. Raises InputError for towers and data that do not fit."""
    for one in examples:
        if one.modality != "image":
            raise InputError(f"{one.name} holds {noun_of(one.modality)}s: `align` pairs photos with their captions or class names.")
    for tower in (image, text):
        if is_own(tower.name):
            raise InputError(f"{one_line(tower.name)} is your own network, which cannot be packed: name a backbone for each tower.")
    return paired(image, text, pair_name(image.name, text.name, width=image.width), image.machine)


def _long(text: Backbone, rows: PairedRows) -> tuple[str, ...]:
    """A sentence on texts that are longer than the text tower reads."""
    preparation = getattr(text.texts, "__self__", None)
    if not isinstance(preparation, TextPreparation):
        return ()
    count, most = sum(preparation.cut(rows.texts)), preparation.max_length
    return (f"{count:,} of {counted(len(rows.texts), 'text')} cut after {most} tokens, the most that {text.name} reads.",) if count else ()


def _read(
    rows: PairedRows, image: Backbone, text: Backbone, cache: Path | None, *, skip_bad: bool, quiet: bool
) -> tuple[Rows, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Unit features and vectors of all rows, and which rows could be read."""
    parts, good = [], []
    for one in rows.sources:
        _, features, bad = readable_features(one, image, cache=cache, skip_bad=skip_bad, quiet=quiet)
        parts.append(features)
        good.append(~np.isin(np.arange(len(one)), list(bad)))
    with torch.no_grad():
        vectors = class_vectors(text, text.start(), rows.texts, rows.prompts).cpu()
    if empty := next((name for name, vector in zip(rows.texts, vectors, strict=True) if not bool(vector.any())), None):
        raise InputError(f"the text {one_line(empty)!r} embeds to nothing (a vector of zeros) by {text.name}: give it another name.")
    return Rows(unit(torch.cat(parts)), vectors, torch.from_numpy(rows.own)), np.concatenate(good)


def _divided(whole: Rows, good: np.ndarray[Any, np.dtype[np.bool_]], rows: PairedRows) -> tuple[Rows, Rows | None]:
    """The rows to learn from, and those to judge by, each with the texts of its own; None where fewer than two texts are held out."""
    fit, held = (_of(whole, np.flatnonzero(good & mask)) for mask in (~rows.held, rows.held))
    if len(fit.texts) < 2:
        raise InputError(f"found rows of {len(fit.texts)} text that can be read, expected two different texts or more.")
    return fit, held if len(held.texts) > 1 else None


def _of(rows: Rows, which: np.ndarray[Any, np.dtype[np.int64]]) -> Rows:
    used, own = torch.unique(rows.own[which], return_inverse=True)
    return Rows(rows.images[which], rows.texts[used], own)


def _joined(one: Rows, other: Rows) -> Rows:
    own = torch.cat([one.own, other.own + len(one.texts)])
    return Rows(torch.cat([one.images, other.images]), torch.cat([one.texts, other.texts]), own)


def _record(
    made: Backbone, rows: PairedRows, settings: AlignSettings, facts: Mapping[str, Any], told: Sequence[str], seconds: float
) -> dict[str, Any]:
    """What pretraining.json says; the page is drawn from it."""
    return {
        "objective": ALIGNMENT,
        "loss": settings.loss,
        "settings": {**asdict(settings), "templates": list(settings.templates), "groups": 1},
        "lr": settings.lr,
        "backbone": {"name": made.name, "digest": made.digest(), "source": dict(made.source)},
        "data": [{"name": one.name, "rows": len(one), "digest": one.digest()} for one in rows.sources],
        "steps": facts["steps"] + facts["tower_steps"],
        "visits": facts["visits"],
        "seconds": seconds,
        "processes": 1,
        "learned": {
            "scale of cosines": made.logit_scale,
            **dict(zip(("strength of images", "strength of texts"), facts["strengths"], strict=True)),
        },
        "curve": [{**row, "step": row["step"] + 1} for row in facts["curve"]],
        "looks": list(facts["looks"]),
        "ways": facts["ways"],
        "probe": None,
        "checkpoints": [],
        "remarks": [*told, *_remarks(facts)],
    }


def _remarks(facts: Mapping[str, Any]) -> list[str]:
    looks = facts["looks"]
    if not looks:
        return []
    first, best = looks[0][1], max(accuracy for _, accuracy in looks)
    kept = (
        f"after {counted(facts['steps'], 'update')} of contrast it is right in {100 * best:.1f}%"
        if facts["steps"]
        else ("no number of updates by contrast did better, so it is kept as it is")
    )
    said = f"On texts that were held out, the nearest of {facts['ways']} is right in {100 * first:.1f}% by the closed form; {kept}."
    moved = f"The towers moved in {counted(facts['tower_steps'], 'update')} after that, which held-out texts have not judged."
    return [said, moved] if facts["tower_steps"] else [said]
