"""The projections of two locked towers learn by contrast, on features that were read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.preparation import VectorPreparation
from fewtune.backbones.providers.pair_provider import PROJECTION, Pair
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import Key
from fewtune.learning.ground import Ground
from fewtune.learning.marks import Marks
from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained, train
from fewtune.machine import Machine
from fewtune.parts.heads import Paired
from fewtune.parts.losses import Contrast, Loss, SigmoidContrast
from fewtune.parts.optimizers import Adam
from fewtune.parts.plan import Plan
from fewtune.parts.rates import Cosine
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.closed_form import Projections, Rows
from fewtune.tasks.pooled import Pairs
from fewtune.tasks.task import class_rows

_LOOKS = 10  # at the held out texts, evenly spaced


@final
class _Given(nn.Module):
    """A text tower whose vectors were read before."""

    def forward(self, vectors: Tensor, side: Literal["item", "label"] = "label") -> Tensor:  # noqa: ARG002  (a tower's signature)
        return vectors


@final
@dataclass(frozen=True, eq=False)
class Contrasted:
    """`projections`: those that were most often right on held out texts. `steps`: after how many updates they were; 0 for the start.
    `visits`: rows that those updates looked at. `looks`: (updates, accuracy in [0, 1]) on the way, the start first. `curve`: a row for each
    update."""

    projections: Projections
    steps: int
    visits: int
    looks: tuple[tuple[int, float], ...]
    curve: tuple[Mapping[str, Any], ...]


def contrasted(fit: Rows, held: Rows, start: Projections, settings: AlignSettings, key: Key, *, quiet: bool = True) -> Contrasted:
    """Train the projections by the contrast of the texts in `fit`; those that suit the texts in `held` best are kept, the start too."""
    looks, best = [(0, start.accuracy(held))], {0: start}

    def look(step: int, weights: Mapping[str, Tensor]) -> Mapping[str, float]:
        now = projections_in(weights)
        looks.append((step, now.accuracy(held)))
        if looks[-1][1] > max(accuracy for _, accuracy in looks[:-1]):
            best[step] = now
        return {"held_out": looks[-1][1]}

    marks = {round(settings.steps * place / _LOOKS) for place in range(1, _LOOKS + 1)} - {0}
    trained = trained_by_contrast(fit, start, settings, key, Marks(frozenset(marks), look), quiet=quiet)
    step = max(best)
    visits = int(trained.curve[step - 1]["visits"]) if step else 0
    return Contrasted(best[step], step, visits, tuple(looks), tuple(trained.curve))


def trained_by_contrast(fit: Rows, start: Projections, settings: AlignSettings, key: Key, marks: Marks, *, quiet: bool = True) -> Trained:
    """All updates, looked at after those that `marks` names."""
    names = [str(number) for number in range(len(fit.texts))]
    vectors = make_examples(Vectors(fit.images.numpy()), fit.own.numpy(), name="images", class_names=names)
    ground = Ground(_backbone(fit, start), RowSpace([vectors]))
    return train(ground, (phase_of(settings, start),), class_rows(ground.space), key, marks=marks, label="aligning", quiet=quiet)


def phase_of(settings: AlignSettings, start: Projections) -> Phase:
    """Adam, at a rate relative to the size of the weights of each projection; the temperature at that of its logarithm."""

    def rate(weight: Tensor) -> Cosine:
        return Cosine(lr=settings.lr * float(weight.square().mean().sqrt()))

    rules = (("image_projection.*", rate(start.image[0])), ("text_projection.*", rate(start.text[0])), ("*", Cosine(lr=settings.lr)))
    head, loss = head_and_loss(settings)
    return Phase(
        sampler=Pairs(batch=settings.batch),
        learner=head,
        plan=Plan(rules=rules),
        steps=settings.steps,
        losses=(loss,),
        optimizer=Adam(),
    )


def head_and_loss(settings: AlignSettings, prompts: tuple[str, ...] = ("{}",)) -> tuple[Paired, Loss]:
    """How pairs are compared, and what that costs."""
    if settings.loss == "sigmoid":
        return Paired(prompts=prompts, temperature=5.0, offset=-5.0), SigmoidContrast()
    return Paired(prompts=prompts, temperature=5.0), Contrast()


def projections_in(weights: Mapping[str, Tensor]) -> Projections:
    """The projections among the weights of a pair, as copies."""
    image, text = ((f"{side}_projection.weight", f"{side}_projection.bias") for side in ("image", "text"))
    first, second = ((weights[w].detach().clone(), weights[b].detach().clone()) for w, b in (image, text))
    return Projections(first, second)


def weights_of(projections: Projections) -> dict[str, Tensor]:
    """The projections by the names of the weights of a pair."""
    sides = (("image", projections.image), ("text", projections.text))
    return {f"{side}_projection.{part}": t for side, both in sides for part, t in zip(("weight", "bias"), both, strict=True)}


def _backbone(fit: Rows, start: Projections) -> Backbone:
    """The projections over features as inputs; its label side looks vectors up by the number of a text."""
    width = len(start.image[1])
    network = Pair(nn.Identity(), _Given(), (fit.images.shape[1], fit.texts.shape[1]), width).eval()
    network.load_state_dict({**network.state_dict(), **weights_of(start)})

    def read(numbers: Sequence[str]) -> Tensor:
        return fit.texts[[int(number) for number in numbers]]

    names = tuple(n for n, _ in network.named_parameters())
    where = Machine(device="cpu", dtype="float32").resolved()
    network.requires_grad_(False)
    return Backbone("projections", network, VectorPreparation(), width, ((PROJECTION, names),), where, {}, "projections", read)
