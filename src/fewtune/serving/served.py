"""What a server needs of a saved model, whether it answers one column of classes or several label columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.images import decode
from fewtune.data.reading.two_texts import typed
from fewtune.errors import InputError

Row: TypeAlias = dict[str, Any]
Given: TypeAlias = bytes | str | list[float] | Row  # an encoded photo, a text, an embedding, a row of a table
SHARE = {"type": "number", "minimum": 0, "maximum": 1.000001}


class Served(Protocol):
    """A model with its backbone in memory. `prepare` may run in several threads at once, `answers` in one."""

    @property
    def modality(self) -> str:
        """What it reads: "image", "text", "vector", or "table" for rows with several inputs."""

    @property
    def knows(self) -> Mapping[str, Sequence[str]]:
        """What its health says it answers: its classes, or its label columns."""

    @property
    def title(self) -> str:
        """What it does, in words after "This model ...": a sentence without its end."""

    @property
    def shape(self) -> Row:
        """The JSON schemas of a prediction, beside `input`, by name."""

    @property
    def example(self) -> Row:
        """A prediction, beside `input`, as the documentation shows it."""

    @property
    def row(self) -> Row:
        """An item that it reads, as the documentation shows it; empty unless it reads a table."""

    def prepare(self, given: Given, name: str) -> Any:
        """An item made ready. Raises InputError, in one sentence with the item's name, for what is none."""

    def warm(self) -> None:
        """Answer once before anybody asks, because the first pass is slow."""

    def answers(self, prepared: Sequence[Any]) -> Sequence[Any]:
        """One answer an item, in order."""

    def record(self, answer: Any, threshold: float | None) -> Row:
        """An answer as JSON holds it; below `threshold` (None: the model's own) a class is null."""


def prepared_item(backbone: Backbone, numbers: int, given: Given, name: str) -> Any:
    """A photo, a text or an embedding of so many `numbers` as the backbone's preparation gives it."""
    preparation: Any = backbone.preparation
    if isinstance(given, bytes):
        return preparation.prepare(decode(given, name=name, size_hint=preparation.size_hint))
    if isinstance(given, str):
        if not given.replace("\ufeff", "").strip():  # as the pattern of the OpenAPI description says
            raise InputError(f"{name} is empty: expected a text.")
        fields = getattr(preparation, "fields", ())
        return preparation.prepare(typed(given, fields) if fields else given)
    with np.errstate(over="ignore"):  # said below
        vector = np.asarray(given, dtype=np.float64).astype(np.float32)
    if vector.shape != (numbers,):
        raise InputError(f"{name} has {vector.size} numbers: this model reads embeddings of {numbers}.")
    if not np.isfinite(vector).all():
        raise InputError(f"{name} holds a number that is too large for 32 bits.")
    return preparation.prepare(vector)


def width_of(backbone: Backbone, width: int) -> int:
    """How many numbers an embedding has that the backbone reads; `width` of its features."""
    return int(getattr(backbone.network, "inputs", width))


def cpu_rows(backbone: Backbone) -> int:
    """How many items go through the network at once."""
    return backbone.cpu_rows if backbone.machine.device == "cpu" else backbone.machine.chunk
