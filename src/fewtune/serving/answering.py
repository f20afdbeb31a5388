"""One item of a request made ready for the network, and a batch of them answered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from PIL import Image

from fewtune.backbones.backbone import Backbone, Weights
from fewtune.errors import InputError
from fewtune.models.bundle import Bundle
from fewtune.models.predict import Running, label_rows
from fewtune.serving.served import SHARE, Given, Row, cpu_rows, prepared_item, width_of


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

    @property
    def knows(self) -> dict[str, list[str]]:
        return {"classes": list(self.bundle.class_names)}

    @property
    def title(self) -> str:
        noun = {"image": "photos", "text": "texts"}.get(self.modality, "embeddings")
        return f"sorts {noun} into {len(self.bundle.class_names)} classes"

    @property
    def shape(self) -> Row:
        names = list(self.bundle.class_names)
        scores = {"type": "object", "properties": dict.fromkeys(names, SHARE), "required": names}
        return {"label": {"enum": [*names, None]}, "probability": SHARE, "scores": scores}

    @property
    def example(self) -> Row:
        first, second, *more = self.bundle.class_names
        scores = {first: 0.93, "...": "..."} if more else {first: 0.93, second: 0.07}
        return {"label": first, "probability": 0.93, "scores": scores}

    @property
    def row(self) -> Row:
        return {}

    def record(self, answer: Answer, threshold: float | None) -> Row:
        """The answer as JSON holds it; its label is null below the threshold."""
        least = self.bundle.threshold if threshold is None else threshold
        label = answer.label if answer.probability >= least else None
        return {"label": label, "probability": answer.probability, "scores": answer.scores}

    @cached_property
    def _start(self) -> Weights:
        return self.backbone.start()

    def prepare(self, given: Given, name: str) -> Any:
        """An item as the backbone's preparation gives it. Raises InputError, in one sentence with the item's name, for what is none."""
        return prepared_item(self.backbone, self._numbers, given, name)

    def warm(self) -> None:
        """Answer once before anybody asks, because the first pass is slow."""
        self.answers([self.prepare(made_up(self.modality, self._numbers), "a made-up item")])

    @property
    def _numbers(self) -> int:
        return width_of(self.backbone, self.bundle.backbone.width)

    def answers(self, prepared: Sequence[Any]) -> list[Answer]:
        """One answer an item, in order."""
        few = cpu_rows(self.backbone)
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


def made_up(modality: str, numbers: int) -> Given:
    """A small grey photo, a word, or an embedding of zeros."""
    return _picture() if modality == "image" else "warm ||| warm" if modality == "text" else [0.0] * numbers


def _picture() -> bytes:
    """A small grey PNG."""
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (127, 127, 127)).save(made, "PNG")
    return made.getvalue()
