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


View: TypeAlias = Identity | Augment | BlockShuffle
VIEWS = (Identity, Augment, BlockShuffle)
IDENTITY = Identity()
