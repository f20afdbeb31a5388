"""What a backbone learns in pretraining: each objective as a phase of the one engine, and the label column that it learns by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import remarks_on_length
from fewtune.backbones.providers.masked_trainer import MaskedTrainer, masked_trainer
from fewtune.data.captions import captioned, captions_said
from fewtune.data.examples import NO_SPLIT, Column, Examples
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.parts.heads import Linear, Paired, Projection
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.paired import MOST
from fewtune.parts.losses import Contrast, CrossEntropy, Loss, NtXent, OneNegative, Outcome, Population, SigmoidContrast
from fewtune.parts.losses.queries import needed
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import everything
from fewtune.parts.rates import Cosine
from fewtune.pretraining.settings import PretrainSettings
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.twins import Twins
from fewtune.words import counted, noun_of


@final
@dataclass(frozen=True, eq=False)
class Objective:
    """`examples` with the label column that is learned by; what each update draws, how it is answered and what that costs; and `told`,
    sentences on the data. `masked`: the network that is trained, where it is not the backbone itself."""

    examples: tuple[Examples, ...]
    sampler: Sampler
    head: Head
    loss: Loss
    told: tuple[str, ...]
    masked: MaskedTrainer | None = None

    def scale(self, ground: Ground, weights: Mapping[str, Tensor]) -> float | None:
        """The number that was learned to multiply cosines of rows and texts with; None where these are not compared."""
        return self.head.scale(ground.read(self.head, weights)) if isinstance(self.head, Paired) else None

    def phase(self, steps: int, lr: float, settings: PretrainSettings) -> Phase:
        """The training loop: all weights move, at a rate that rises, then falls along a cosine."""
        rate = Cosine(lr=lr, warmup=int(steps * settings.warmup))
        return Phase(
            sampler=self.sampler,
            learner=self.head,
            plan=everything(rate),
            steps=steps,
            batch=settings.groups,
            losses=(self.loss,),
            query_view=settings.seen,
            optimizer=AdamW(weight_decay=1e-4),
            clip=1.0,
        )


def objective_of(examples: Sequence[Examples], backbone: Backbone, settings: PretrainSettings) -> Objective:
    """What is learned from some collections. Raises InputError where data, backbone and objective do not fit one another."""
    made: dict[str, Callable[..., Objective]] = {"contrastive": _contrastive, "simclr": _simclr, "supervised": _supervised, "mlm": _mlm}
    return made[settings.objective](examples, backbone, settings)


def _contrastive(examples: Sequence[Examples], backbone: Backbone, settings: PretrainSettings) -> Objective:
    """Rows and their captions find each other: CLIP's loss, or SigLIP's."""
    if not backbone.label_side:
        raise InputError(
            f"{backbone.name} reads no texts, so {noun_of(backbone.preparation.modality)}s cannot be paired with captions: give an "
            "image-text backbone such as open_clip:NAME or pair:IMAGE+TEXT, or another objective."
        )
    found = [captioned(one, settings.templates, key(settings.seed, "templates", number)) for number, one in enumerate(examples)]
    told = tuple(map(captions_said, found))
    long = sum(_cut(backbone, one.examples.class_names) for one in found)
    if long:
        told += (f"{counted(long, 'caption')} longer than the text tower reads: cut there.",)
    sigmoid = settings.minimised == "sigmoid"
    head = Paired(temperature=10.0, offset=-10.0) if sigmoid else _as_it_was(backbone)
    loss = SigmoidContrast() if sigmoid else Contrast()
    return Objective(tuple(one.examples for one in found), Pairs(batch=settings.batch), head, loss, told)


def _as_it_was(backbone: Backbone) -> Paired:
    """CLIP's comparison, which begins with the scale that the model has; with CLIP's where it has none."""
    return Paired() if backbone.logit_scale == 1.0 else Paired(temperature=min(backbone.logit_scale, MOST))


def _cut(backbone: Backbone, texts: Sequence[str]) -> int:
    """How many texts have more tokens than the label side reads; 0 where its tokenizer does not say."""
    cut = getattr(getattr(backbone.texts, "__self__", backbone.texts), "cut", None)
    return sum(cut(texts)) if callable(cut) else 0


def _simclr(examples: Sequence[Examples], backbone: Backbone, settings: PretrainSettings) -> Objective:
    """Two views of each photo find each other among those of the others; labels are not looked at."""
    if backbone.preparation.modality != "image":
        found = noun_of(backbone.preparation.modality)
        raise InputError(f"simclr compares views of photos, but {backbone.name} reads {found}s: give photos, or another objective.")
    if sum(map(len, examples)) < 2:
        raise InputError("simclr tells photos apart, but found one photo: give two or more (some hundred is a start).")
    losses: dict[str, Callable[..., Loss]] = {"nt_xent": NtXent, "one_negative": OneNegative, "population": Population}
    told = tuple(f"{one.name}: {counted(len(one), 'photo')}; labels are not looked at." for one in examples)
    loss = losses[settings.minimised](temperature=settings.temperature)
    return Objective(tuple(map(unlabelled, examples)), Twins(batch=settings.batch), Projection(), loss, told)


def _mlm(examples: Sequence[Examples], backbone: Backbone, settings: PretrainSettings) -> Objective:
    """Masked words of texts are filled in; labels are not looked at."""
    found = noun_of(backbone.preparation.modality)
    if found != "text":
        raise InputError(f"mlm masks words of texts, but {backbone.name} reads {found}s: give texts, or another objective.")
    trainer = masked_trainer(backbone)
    told = tuple(f"{one.name}: {counted(len(one), 'text')}; labels are not looked at." for one in examples)
    told += tuple(sentence for one in examples for sentence in remarks_on_length(one, trainer.backbone))
    sampler = Pooled(batch=settings.batch)
    return Objective(tuple(map(unlabelled, examples)), sampler, Projection(layers=0), MaskedWords(), told, trainer)


@final
@dataclass(frozen=True, kw_only=True)
class MaskedWords:
    """The mean over the words that the texts of an episode are asked for of -log p(word); 0 where none is asked for.

    It reads what a `MaskedCosts` network answers to masked texts, [E, Q, 2]: the sum and the number of each text.
    """

    def __call__(self, outcome: Outcome) -> Float[Tensor, " E"]:
        found = needed("features of the query", outcome.query, "MaskedWords")
        costs, counts = found.masked_fill((outcome.episodes.query < 0)[..., None], 0.0).sum(1).unbind(-1)
        return costs / counts.clamp_min(1)


def unlabelled(examples: Examples) -> Examples:
    """The same rows as one class, so that all are drawn."""
    column = Column("class", np.zeros(len(examples), dtype=np.int64), ("any",))
    return replace(examples, columns={"any": column}, target="any", class_split=np.full(1, NO_SPLIT))


def _supervised(examples: Sequence[Examples], backbone: Backbone, settings: PretrainSettings) -> Objective:  # noqa: ARG001
    """The classes of all collections, by a linear layer on the features that is thrown away in the end."""
    for one in examples:
        if one.column.kind != "class" or len(np.unique(one.labels[one.labels >= 0])) < 2:
            raise InputError(f"{one.name} has fewer than two classes, so there is nothing to learn by labels: expected labelled data.")
    told = tuple(f"{one.name}: {len(np.unique(one.labels[one.labels >= 0])):,} classes." for one in examples)
    head = Linear(rows="class", start="random", name="source")
    return Objective(tuple(examples), Pooled(batch=settings.batch), head, CrossEntropy(), told)
