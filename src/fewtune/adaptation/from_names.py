"""A model from the names of its classes alone: the class whose name is nearest. Nobody can know yet how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.adaptation.verdict import RUN, Verdict
from fewtune.backbones.backbone import Backbone
from fewtune.data.class_names import check_names, odd_names
from fewtune.errors import InputError
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.learning.scaled import scaled
from fewtune.models.backbone_record import record_of
from fewtune.models.bundle import Bundle
from fewtune.models.card import model_card
from fewtune.models.fitting import fit_head
from fewtune.parts.heads import Text
from fewtune.recipes.default_learners import candidates
from fewtune.spec import text
from fewtune.version import __version__
from fewtune.words import noun_of, one_line, option

TEXTS = 6.0  # the temperature for text encoders: cosines of texts differ by more than those of a CLIP model (benchmarks/zero_shot.py)

SAME = 1e-6  # two vectors that differ by no more than this share of their largest number are one


@final
@dataclass(frozen=True, eq=False)
class Named:
    """A model that has seen no labelled example. `verdict`: what is known of it. `remarks`: on doubtful names, a sentence each."""

    bundle: Bundle
    verdict: Verdict
    remarks: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, then the remarks."""
        return (*self.verdict.sentences, *self.remarks)


def from_names(class_names: Sequence[str], backbone: Backbone, *, prompts: tuple[str, ...] = (), threshold: float = 0.0) -> Named:
    """A zero-shot model: each input is answered by the class whose name, read by the `backbone`, is nearest to it.

    `prompts`: sentences around a name, such as "a photo of a {}"; by default the common ones. `threshold` in [0, 1]: an answer with a
    lower probability abstains. Raises InputError for a backbone that cannot read names, for fewer than two different names, and for names
    that it reads as nothing or as the same.
    """
    names = check_names(class_names)
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold between 0 and 1, found {threshold:g}.")
    if not backbone.label_side:
        raise InputError(
            f"{backbone.name} cannot read class names, so it cannot tell classes apart without labelled examples: give "
            f"{option('--backbone NAME')} of one that can (a text encoder, or a CLIP model for photos), or label a few examples."
        )
    modality = backbone.preparation.modality
    usual = candidates(label_side=True, modality=modality, prompts=prompts, answers_prompts=backbone.answers_prompts)
    method = scaled(_zero_shot(usual), backbone)
    vectors = vectors_by_prompts(backbone, names, [method])[prompts_of(method.head)]
    _check_apart(vectors, names, backbone)
    none = np.zeros(0, dtype=np.int64)
    width = backbone.width or vectors.shape[1]
    state, parameters = fit_head(method, torch.zeros(1, width), none, none, len(names), vectors.cpu())
    verdict, remarks = _verdict(len(names), noun_of(modality)), tuple(odd_names(names))
    bundle = Bundle(
        backbone=record_of(backbone, width),
        method=text(method),
        class_names=names,
        state=state,
        parameters=parameters,
        temperature=TEXTS if modality == "text" and not backbone.answers_prompts else 1.0,
        threshold=threshold,
        facts=_facts(names, verdict),
        card="",
    )
    return Named(replace(bundle, card=model_card(bundle, bundle.facts, (*verdict.sentences, *remarks))), verdict, remarks)


def _check_apart(vectors: Tensor, names: tuple[str, ...], backbone: Backbone) -> None:
    """Check that no class vector [K, D] is zero or that of another class."""
    for number, name in enumerate(names):
        if not vectors[number].any():
            raise InputError(
                f"the class name {one_line(name)!r} embeds to nothing (a vector of zeros) by {backbone.name}: give it another name."
            )
        same = (vectors[:number] - vectors[number]).abs().amax(1) <= SAME * vectors[number].abs().max()
        if same.any():
            other = names[int(same.nonzero()[0])]
            raise InputError(
                f"{backbone.name} reads the class names {one_line(other)!r} and {one_line(name)!r} as the same, so it cannot tell them "
                "apart: give them names of words that it knows, or label a few examples."
            )


def _zero_shot(methods: dict[str, Method]) -> Method:
    """The one that looks at names alone."""
    return next(method for method in methods.values() if isinstance(method.head, Text))


def _verdict(ways: int, noun: str) -> Verdict:
    return Verdict(
        light="unknown",
        sentence=f"Nobody can tell yet how often the answer to a new {noun} will be right; guessing would get 1 of {ways}.",
        reason="the model has seen the names of the classes and no labelled example.",
        actions=(
            f"Label a few {noun}s of each class and learn from them: with two of each it can be tested, with eight it can be trusted more.",
            f"Test it on {noun}s that you label by hand: fewtune evaluate {RUN} LABELLED_DATA",
        ),
        guessing=1 / ways,
    )


def _facts(names: tuple[str, ...], verdict: Verdict) -> dict[str, Any]:
    """What the bundle's JSON file says of how the model was made."""
    return {
        "fewtune": __version__,
        "torch": torch.__version__,
        "data": f"the names of {len(names)} classes",
        "rows": 0,
        "shots": dict.fromkeys(names, 0),
        "learner": "zero_shot",
        "expected_accuracy": None,
        "measured_accuracy": None,
        "recall": {},
        "verdict": verdict.record,
    }
