"""The graph's own preparation of images gives the very bytes of `ImagePreparation`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from fewtune.backbones.preparation import ImagePreparation
from fewtune.models.pixels_graph import Pixels

SIZES = ((48, 48), (100, 333), (301, 97), (260, 256), (1, 5), (7, 3), (109, 109), (31, 200), (222, 21))  # height, width of photos
SETTINGS = ((96, 96, 109), (33, 47, 60), (40, 40, 30), (24, 24, 24))  # height, width, short side


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", ["short", "squash"])
def test_the_same_bytes_as_pillow(interpolation: str, resize: str) -> None:
    """Noise, which shows every rounding: upscaled, shrunk, cut, padded with black, in colour and grey."""
    random = np.random.default_rng(0)
    for (height, width, short), rounding, grey in itertools.product(SETTINGS, ("nearest", "floor"), (False, True)):
        constants = (0.5,) * (1 if grey else 3)
        p = ImagePreparation(
            height=height, width=width, short=short, interpolation=interpolation, resize=resize, rounding=rounding, grey=grey,  # type: ignore[arg-type]
            mean=constants, std=constants,
        )  # fmt: skip
        for tall, wide in SIZES:
            photo = random.integers(0, 256, (tall, wide, 3), dtype=np.uint8)
            made = Pixels(p)(torch.from_numpy(photo)[None])[0]
            assert torch.equal(made, p.prepare(Image.fromarray(photo)).float()), (p, tall, wide)


def test_nearest_takes_pixels_as_they_are() -> None:
    """Where Pillow's running sum meets the edge of two pixels, it may take the one beside."""
    p = ImagePreparation(height=20, width=20, short=23, interpolation="nearest")
    photo = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    made = Pixels(p)(torch.from_numpy(photo)[None])[0]
    assert (made == p.prepare(Image.fromarray(photo)).float()).float().mean() > 0.85
    assert {tuple(c) for c in made.flatten(1).T.int().tolist()} <= {tuple(c) for c in photo.reshape(-1, 3).tolist()}


def test_photos_of_one_size_go_together() -> None:
    p = ImagePreparation(height=16, width=16, short=20)
    photos = np.random.default_rng(1).integers(0, 256, (3, 50, 40, 3), dtype=np.uint8)
    together = Pixels(p)(torch.from_numpy(photos))
    assert torch.equal(together, torch.cat([Pixels(p)(torch.from_numpy(one)[None]) for one in photos]))
