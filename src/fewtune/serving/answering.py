"""One item of a request made ready for the network, and a batch of them answered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import torch
from PIL import Image

from fewtune.backbones.backbone import Backbone, Weights
from fewtune.data.images import decode
from fewtune.errors import InputError
from fewtune.models.bundle import Bundle
from fewtune.models.predict import Running, label_rows

Given: TypeAlias = bytes | str | list[float]  # an encoded photo, a text, an embedding


@final
@dataclass(frozen=True)
class Answer:
    """The most probable class, its probability, and all probabilities by class name."""

    label: str
    probability: float
    scores: dict[str, float]


@final
@dataclass(frozen=True, eq=False)
class Answering:
    """A saved model with its backbone in memory. `prepare` may run in several threads at once, `answers` in one."""

    bundle: Bundle
    backbone: Backbone

    @staticmethod
    def of(bundle: Bundle, running: Running) -> Answering:
        """The model, ready to answer. Raises InputError where its backbone is gone or another."""
        return Answering(bundle, running.load(bundle))

    @property
    def modality(self) -> str:
        return self.bundle.backbone.modality

    @cached_property
    def _start(self) -> Weights:
        return self.backbone.start()

    def prepare(self, given: Given, name: str) -> Any:
        """An item as the backbone's preparation gives it. Raises InputError, in one sentence with the item's name, for what is none."""
        preparation: Any = self.backbone.preparation
        if isinstance(given, bytes):
            return preparation.prepare(decode(given, name=name, size_hint=preparation.size_hint))
        if isinstance(given, str):
            if not given.replace("\ufeff", "").strip():  # as the pattern of the OpenAPI description says
                raise InputError(f"{name} is empty: expected a text.")
            return preparation.prepare(given)
        with np.errstate(over="ignore"):  # said below
            vector = np.asarray(given, dtype=np.float64).astype(np.float32)
        wanted = self._numbers
        if vector.shape != (wanted,):
            raise InputError(f"{name} has {vector.size} numbers: this model reads embeddings of {wanted}.")
        if not np.isfinite(vector).all():
            raise InputError(f"{name} holds a number that is too large for 32 bits.")
        return preparation.prepare(vector)

    def warm(self) -> None:
        """Answer once before anybody asks, because the first pass is slow."""
        made: dict[str, Given] = {"image": _picture(), "text": "warm", "vector": [0.0] * self._numbers}
        self.answers([self.prepare(made[self.modality], "a made-up item")])

    @property
    def _numbers(self) -> int:
        return int(getattr(self.backbone.network, "inputs", self.bundle.backbone.width))

    def answers(self, prepared: Sequence[Any]) -> list[Answer]:
        """One answer an item, in order."""
        few = self.backbone.cpu_rows if self.backbone.machine.device == "cpu" else self.backbone.machine.chunk
        with torch.inference_mode():
            parts = [
                self.backbone.forward(self._start, self.backbone.preparation.batch(prepared[i : i + few]))
                for i in range(0, len(prepared), few)
            ]
        names = [""] * len(prepared)
        found = label_rows(self.bundle, names, torch.cat(parts).cpu(), threshold=0.0)
        if any(answer.label is None for answer in found):
            raise InputError("the features of an item are not finite numbers.")
        return [Answer(str(answer.label), answer.probability, answer.scores) for answer in found]


def _picture() -> bytes:
    """A small grey PNG."""
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (127, 127, 127)).save(made, "PNG")
    return made.getvalue()
