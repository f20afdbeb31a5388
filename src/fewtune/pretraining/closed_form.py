"""Two projections in closed form: features of images and vectors of texts in one space, without a step of training.

The texts are mapped into the space of the images, which stays as it is but for its mean. With F the centred unit features of the images and
T the centred unit vectors of their texts, the map is M = (Sz + b Z)^-1 Szx (Sx + a X)^-1: Sx and Sz the covariances of F and T, Szx their
cross-covariance, each distinct text counting once; X and Z the mean eigenvalues. a, b -> 0 is least squares from texts to whitened images,
a, b -> infinity the cross-covariance alone. Mapping texts to images, and not images to texts, avoids hubs (texts near everything).

Reference: Shigeto et al., "Ridge regression, hubness, and zero-shot learning", ECML 2015; Romera-Paredes, Torr, "An embarrassingly simple
approach to zero-shot learning", ICML 2015 (a penalty on either side). Departs: images are not classified but compared by cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.lengths import unit
from fewtune.statistics.several_ways import class_means, several_ways_accuracy

GRID = (1.0, 10.0, 100.0, 1000.0)  # strengths a and b
SCALES = tuple(2.0 ** (half / 2) for half in range(14))  # 1 ... 90
USUAL = (10.0, 1000.0)  # where nothing is held out to choose by
WAYS = 5


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Unit features `images` [N, D], unit vectors `texts` [C, T], and which text is each image's `own` [N]."""

    images: Float[Tensor, "N D"]
    texts: Float[Tensor, "C T"]
    own: Int[Tensor, " N"]


@final
@dataclass(frozen=True, eq=False)
class Projections:
    """Weights [D, D] and [D, T] and biases [D] of the projections of images and of texts."""

    image: tuple[Tensor, Tensor]
    text: tuple[Tensor, Tensor]

    def scores(self, rows: Rows) -> Float[Tensor, "N C"]:
        """Cosines of images and texts."""
        features, vectors = (given @ weight.T + bias for given, (weight, bias) in ((rows.images, self.image), (rows.texts, self.text)))
        return unit(features) @ unit(vectors).T

    def accuracy(self, rows: Rows) -> float:
        """How often the own text of an image is nearest among `WAYS` texts (or all, if they are fewer), averaged over texts; in [0, 1]."""
        ways = min(WAYS, len(rows.texts))
        chances = several_ways_accuracy(self.scores(rows).cpu().numpy(), rows.own.cpu().numpy(), ways)
        each = class_means(chances, rows.own.cpu().numpy(), len(rows.texts))
        return float(each[each == each].mean())


@final
class Moments:
    """What the closed form needs of rows, in float64: computed once for all strengths."""

    def __init__(self, rows: Rows) -> None:
        images, texts = rows.images.double(), rows.texts.double()
        count = torch.bincount(rows.own, minlength=len(texts)).to(images)
        used = count > 0
        means = images.new_zeros(len(texts), images.shape[1]).index_add_(0, rows.own, images) / count.clamp_min(1)[:, None]
        means, texts = means[used], texts[used]
        self._dtype = rows.images.dtype
        self._image_mean, self._text_mean = means.mean(0), texts.mean(0)
        centred, self._texts = images - self._image_mean, texts - self._text_mean
        share = (1 / count.clamp_min(1))[rows.own] / len(texts)
        self._images = centred.mT @ (share[:, None] * centred)
        self._cross = self._texts.mT @ (means - self._image_mean) / len(texts)

    @cached_property
    def _spectra(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Eigenvalues and vectors of both covariances, and the cross-covariance between those vectors."""
        of_images, v = torch.linalg.eigh(self._images)
        of_texts, w = torch.linalg.eigh(self._texts.mT @ self._texts / len(self._texts))
        return of_images.clamp_min(0), v, of_texts.clamp_min(0), w, w.mT @ self._cross @ v

    def projections(self, a: float, b: float) -> Projections:
        """Those of strengths a and b. Features and vectors have about unit length: one factor for each side."""
        of_images, v, of_texts, w, cross = self._spectra
        tiny = torch.finfo(torch.float64).tiny
        left = of_texts + (b * of_texts.mean()).clamp_min(tiny)
        right = of_images + (a * of_images.mean()).clamp_min(tiny)
        mapped = w @ (cross / left[:, None] / right) @ v.mT
        text_scale = (self._texts @ mapped).norm(dim=1).mean().clamp_min(tiny)
        image_scale = self._images.trace().sqrt().clamp_min(tiny)
        text, image = mapped.mT / text_scale, torch.eye(len(v), dtype=v.dtype, device=v.device) / image_scale
        pairs = ((image, self._image_mean), (text, self._text_mean))
        first, second = ((weight.to(self._dtype), (-weight @ mean).to(self._dtype)) for weight, mean in pairs)
        return Projections(first, second)


def best_scale(projections: Projections, rows: Rows) -> float:
    """The number of SCALES that, multiplied with the cosines, gives the own text of each image the highest probability on average."""
    cosines = projections.scores(rows)
    losses = [float(torch.nn.functional.cross_entropy(scale * cosines, rows.own)) for scale in SCALES]
    best: float = SCALES[losses.index(min(losses))]
    return best


def chosen_strengths(fit: Rows, held: Rows | None) -> tuple[float, float]:
    """The strengths of GRID that are most often right on texts that were held out; the usual ones where none were."""
    if held is None:
        return USUAL
    moments = Moments(fit)
    accuracy = {(a, b): moments.projections(a, b).accuracy(held) for a in GRID for b in GRID}
    return max(accuracy, key=lambda pair: (accuracy[pair], pair))
