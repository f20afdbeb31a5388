"""Views: how an item is changed before it is normalised. Evaluation uses items unchanged; training may use augmented ones.

Specs only, and no torch: `fewtune.data.views.augment` makes the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

from fewtune.errors import InputError

MOST = 30  # the largest magnitude of RandAugment


@final
@dataclass(frozen=True, kw_only=True)
class Identity:
    """The item as it is."""


@final
@dataclass(frozen=True, kw_only=True)
class Augment:
    """A random view of an image: flip, crop, RandAugment's geometry, colour jitter, RandAugment's colours, in this order.

    `crop`: the smallest and the largest share of the area that is cut out (aspect ratio 3/4 to 4/3) and resized to the full size; None: no
    crop. `flip`: left and right are exchanged in half of the views. `colour`: strength s of the jitter; brightness, contrast and saturation
    are each multiplied by a factor uniform in [max(0, 1 - s), 1 + s]. `rand_ops`: how many operations are drawn from RandAugment's 14, with
    replacement. `magnitude`: their strength, 0 to 30. A network with its own noise (DropBlock in `resnet12,dropblock=.1`) uses it only in
    these views. The random draws are a pure function of (key, row), where the key stands for (seed, step, role, copy): a row looks the same
    in any batch, with any number of workers, and in a resumed run. Raises InputError for values out of range. Reference: crop, Szegedy et
    al. 2015 ("Going deeper with convolutions"); RandAugment, Cubuk et al. 2020.
    """

    crop: tuple[float, float] | None = (0.5, 1.0)
    flip: bool = True
    colour: float = 0.0
    rand_ops: int = 0
    magnitude: int = 9

    def __post_init__(self) -> None:
        if self.crop is not None and not (len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[1] <= 1):
            raise InputError(f"expected crop as two shares of the area, 0 < least <= largest <= 1, found {self.crop}.")
        if not 0 <= self.colour < float("inf"):
            raise InputError(f"expected colour of at least 0, found {self.colour}.")
        if self.rand_ops < 0 or not 0 <= self.magnitude <= MOST:
            raise InputError(f"expected rand_ops >= 0 and magnitude 0 to {MOST}, found {self.rand_ops} and {self.magnitude}.")


@final
@dataclass(frozen=True, kw_only=True)
class BlockShuffle:
    """The blocks of an image in another order, the same one for every image: what is left is what pixels within a block say.

    `size`: the side of a block in pixels of the prepared image: 1 shuffles pixels; the whole side, or more than half of it, changes
    nothing. Pixels at the right and lower edge that do not fill a block stay. The order is a function of (`seed`, number of blocks) and
    needs no key. To train and test on shuffled images, make them first: `fewtune.data.shifts.block_shuffled`. Raises InputError for a size
    below 1. Reference: Neyshabur, Sedghi, Zhang, "What is being transferred in transfer learning?", NeurIPS 2020.
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"expected blocks of at least 1 pixel, found size {self.size}.")


@final
@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Turned about the middle by an angle uniform in [-`degrees`, `degrees`]; with `quarters`, by 0, 90, 180 or 270 degrees more. What lies
    beyond the edges is mirrored; `share` of the images are turned."""

    degrees: float = 0.0
    quarters: bool = True
    share: float = 1.0

    def __post_init__(self) -> None:
        _share("Rotate", self.share)
        if not 0 <= self.degrees <= 180:
            raise InputError(f"expected degrees of Rotate from 0 to 180, found {self.degrees}.")


@final
@dataclass(frozen=True, kw_only=True)
class Grey:
    """Without colours (ITU-R 601 luma in each channel): `share` of the images. SimCLR's colour drop."""

    share: float = 0.2

    def __post_init__(self) -> None:
        _share("Grey", self.share)


@final
@dataclass(frozen=True, kw_only=True)
class Hue:
    """All hues turned by an angle uniform in [-`strength`, `strength`], in turns of the circle of hues (at most 0.5); `share` of the
    images."""

    strength: float = 0.2
    share: float = 1.0

    def __post_init__(self) -> None:
        _share("Hue", self.share)
        if not 0 <= self.strength <= 0.5:
            raise InputError(f"expected strength of Hue from 0 to 0.5, found {self.strength}.")


@final
@dataclass(frozen=True, kw_only=True)
class Blur:
    """Gaussian blur of a standard deviation uniform in `sigma`, in pixels; `share` of the images. The kernel ends at four times the larger
    sigma; beyond the edges the image is mirrored."""

    sigma: tuple[float, float] = (0.1, 2.0)
    share: float = 0.5

    def __post_init__(self) -> None:
        _share("Blur", self.share)
        if not (len(self.sigma) == 2 and 0 < self.sigma[0] <= self.sigma[1] <= 50):
            raise InputError(f"expected sigma of Blur as two numbers of pixels, 0 < least <= largest <= 50, found {self.sigma}.")


@final
@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise of a standard deviation uniform in [0, `most`] is added to every value; then values are cut to [0, 1]. `share` of the
    images."""

    most: float = 0.1
    share: float = 1.0

    def __post_init__(self) -> None:
        _share("Noise", self.share)
        if not 0 <= self.most < float("inf"):
            raise InputError(f"expected most of Noise of at least 0, found {self.most}.")


@final
@dataclass(frozen=True, kw_only=True)
class Cutout:
    """A square of grey (0.5) that covers `area` of the image, its middle anywhere in the image; `share` of the images.

    Reference: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """

    area: float = 0.25
    share: float = 1.0

    def __post_init__(self) -> None:
        _share("Cutout", self.share)
        if not 0 < self.area <= 1:
            raise InputError(f"expected area of Cutout above 0 and at most 1, found {self.area}.")


@final
@dataclass(frozen=True, kw_only=True)
class Sobel:
    """Edges: the length of the gradient of the grey image, by Sobel's two kernels, divided by 4 (a step from 0 to 1 gives 1); `share` of
    the images.
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        _share("Sobel", self.share)


@final
@dataclass(frozen=True, kw_only=True)
class MaskWords:
    """Of texts alone: `share` of the tokens are asked for, at least one of each text. Of these, 80% are replaced by the mask, 10% by a
    random word of the vocabulary, 10% stay.

    Reference: Devlin et al., "BERT", NAACL 2019, section 3.1. Departs: each token is drawn alone, so that their number varies.
    """

    share: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"share of MaskWords is how many of the tokens are asked for, above 0 and below 1, found {self.share}.")


@final
@dataclass(frozen=True, kw_only=True)
class InOrder:
    """Several views, one after another, each with draws of its own."""

    views: tuple[View, ...] = ()


View: TypeAlias = Identity | Augment | Rotate | Grey | Hue | Blur | Noise | Cutout | Sobel | BlockShuffle | InOrder | MaskWords
VIEWS = (Identity, Augment, Rotate, Grey, Hue, Blur, Noise, Cutout, Sobel, BlockShuffle, InOrder)
IDENTITY = Identity()


def simclr(strength: float = 1.0, least: float = 0.08, blur: float = 0.5) -> InOrder:
    """The views of SimCLR: crop and flip, jitter of brightness, contrast, saturation and hue, colour drop, blur.

    `strength` of the jitter (1 for photos, 0.5 for small pictures); `least`: the smallest share of the area that a crop shows; `blur`: the
    share of blurred views (0 for small pictures). Reference: Chen et al., "A simple framework for contrastive learning of visual
    representations", ICML 2020, appendix A. Departs: every view is jittered (there 80%), and blur is in pixels of the prepared image.

    >>> len(simclr().views), len(simclr(blur=0.0).views)
    (4, 3)
    """
    colours = (Augment(crop=(least, 1.0), colour=0.8 * strength), Hue(strength=min(0.5, 0.2 * strength)), Grey(share=0.2))
    return InOrder(views=(*colours, Blur(share=blur)) if blur else colours)


def _share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise InputError(f"share of {name} is how many of the images are changed, above 0 and at most 1, found {share}.")
