"""How images are augmented in training.

A `View` says what may change: `Identity`, `Augment`, the single changes `Rotate`, `Grey`, `Hue`, `Blur`, `Noise`, `Cutout`, `Sobel` and
`BlockShuffle`, or several `InOrder` (`simclr()` is one). `augment.augment` takes a view and images and returns the changed images. The
random draws depend only on a key and the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.views.views import (
        IDENTITY,
        VIEWS,
        Augment,
        BlockShuffle,
        Blur,
        Cutout,
        Grey,
        Hue,
        Identity,
        InOrder,
        MaskWords,
        Noise,
        Rotate,
        Sobel,
        View,
        simclr,
    )

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Augment": "views",
    "BlockShuffle": "views",
    "Blur": "views",
    "Cutout": "views",
    "Grey": "views",
    "Hue": "views",
    "IDENTITY": "views",
    "Identity": "views",
    "InOrder": "views",
    "MaskWords": "views",
    "Noise": "views",
    "Rotate": "views",
    "Sobel": "views",
    "VIEWS": "views",
    "View": "views",
    "simclr": "views",
}

__all__ = [
    "IDENTITY",
    "VIEWS",
    "Augment",
    "BlockShuffle",
    "Blur",
    "Cutout",
    "Grey",
    "Hue",
    "Identity",
    "InOrder",
    "MaskWords",
    "Noise",
    "Rotate",
    "Sobel",
    "View",
    "simclr",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
