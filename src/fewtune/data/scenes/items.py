"""Scenes as the rows of a collection: a picture is drawn when it is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from PIL import Image

from fewtune.data.items import Modality, content_digest
from fewtune.data.scenes.picture import drawn
from fewtune.data.scenes.sampler import scene

DRAWING = 1
"""Increased when the same (seed, row, side) gives other pixels, so that features of the old pixels are not used again."""


@final
@dataclass(frozen=True, eq=False)
class Scenes:
    """Rows 0..count-1 of the scenes of a seed, `side` pixels wide and high."""

    seed: int
    count: int
    side: int
    modality: Modality = "image"

    def __len__(self) -> int:
        return self.count

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:  # noqa: ARG002
        return Image.fromarray(drawn(scene(self.seed, row), self.side))

    def digest(self, row: int) -> bytes:
        """A digest of what decides the pixels; nothing is drawn for it."""
        return content_digest(f"scenes {DRAWING} {self.seed} {row} {self.side}".encode())
