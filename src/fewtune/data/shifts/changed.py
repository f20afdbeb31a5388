"""Images that are changed when they are fetched: rows stay rows, and each row's change is a function of its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from PIL import Image

from fewtune.data.examples import Examples
from fewtune.data.items import Items, Modality, content_digest
from fewtune.data.subset import on_disk
from fewtune.errors import InputError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Change = Callable[[Pixels, bytes], Pixels]  # pixels [H, W, 3] and the digest of the row -> pixels [h, w, 3]


@final
@dataclass(frozen=True, eq=False)
class Changed:
    """The images of `whole`, each changed by `change`; `text` says how, and is part of each row's digest."""

    whole: Items
    change: Change
    text: str

    @property
    def modality(self) -> Modality:
        return self.whole.modality

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def on_disk(self) -> bool:
        return on_disk(self.whole)

    def locate(self, row: int) -> tuple[Items, int]:
        """Where a row's unchanged image is."""
        return self.whole, row

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:  # noqa: ARG002
        image = self.whole.fetch(row)  # at its full size, so that the change does not depend on who asks
        assert isinstance(image, Image.Image)
        return Image.fromarray(self.change(np.asarray(image), self.whole.digest(row)))

    def digest(self, row: int) -> bytes:
        return content_digest(self.whole.digest(row) + self.text.encode())


def changed(examples: Examples, change: Change, text: str, mark: str) -> Examples:
    """The same rows, labels and splits with changed images, called "NAME@MARK". Raises InputError for other modalities."""
    if examples.modality != "image":
        raise InputError(f"{examples.name} holds {examples.modality}s: expected images to change.")
    return replace(examples, name=f"{examples.name}@{mark}", items=Changed(examples.items, change, text))
