"""A model of several label columns behind a server: one item of a request made ready, and a batch of them answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch

from fewtune.backbones.backbone import Weights
from fewtune.errors import InputError
from fewtune.models.joint.model import Floats, JointBundle, TaskModel
from fewtune.models.joint.predict import Answer, answer_record, answers_to, load_joint_backbones
from fewtune.models.joint.rows import Backbones
from fewtune.models.predict import Running
from fewtune.serving.answering import made_up
from fewtune.serving.served import SHARE, Given, Row, cpu_rows, prepared_item, width_of
from fewtune.words import one_line

_NOUN = {"image": "photo", "text": "text", "vector": "vector"}


@final
@dataclass(frozen=True, eq=False)
class ColumnsAnswering:
    """A saved model of label columns with its backbones in memory. An item is a photo, a text or an embedding; of a model that reads
    numbers it is a row, {"NUMBER": 1.5, ..., "photo" | "text" | "vector": ...}, where numbers may be missing.
    """

    bundle: JointBundle
    backbones: Backbones

    @staticmethod
    def of(bundle: JointBundle, running: Running) -> ColumnsAnswering:
        """The model, ready to answer. Raises InputError where its backbone is gone or another."""
        return ColumnsAnswering(bundle, load_joint_backbones(bundle, running))

    @property
    def modality(self) -> str:
        backbone = self.bundle.backbone
        return "table" if self.bundle.numbers or backbone is None else backbone.modality

    @property
    def knows(self) -> dict[str, list[str]]:
        return {"columns": [task.name for task in self.bundle.tasks]}

    @property
    def title(self) -> str:
        noun = {"image": "photo", "text": "text", "vector": "embedding"}.get(self.modality, "row")
        return f"answers {len(self.bundle.tasks)} columns for each {noun}"

    @property
    def shape(self) -> Row:
        each = {task.name: _schema(task) for task in self.bundle.tasks}
        return {"answers": {"type": "object", "properties": each, "required": list(each)}}

    @property
    def example(self) -> Row:
        return {"answers": {task.name: _example(task) for task in self.bundle.tasks[:3]}}

    @property
    def row(self) -> Row:
        """An item that is a row, as documentation shows it; empty where items are none."""
        shown = {"photo": "/9j/4AAQSkZJRgABAQ...", "text": "a text", "vector": [0.1, 0.2]}
        beside = {} if self._beside is None else {self._beside: shown[self._beside]}
        return {**dict.fromkeys(self.bundle.numbers, 1.5), **beside} if self.modality == "table" else {}

    @property
    def _beside(self) -> str | None:
        """The name in a row of what the backbone reads."""
        return None if self.bundle.backbone is None else _NOUN[self.bundle.backbone.modality]

    @cached_property
    def _starts(self) -> dict[int, Weights]:
        return {place: backbone.start() for place, backbone in self.backbones.items()}

    @cached_property
    def _width(self) -> int:
        backbone = self.bundle.backbone
        return 0 if backbone is None else width_of(next(iter(self.backbones.values())), backbone.width)

    def prepare(self, given: Given, name: str) -> tuple[Any, Floats]:
        """(what the backbone reads, the numbers [M], NaN missing) of an item."""
        row = given if isinstance(given, dict) else {self._beside: given}
        known = {*self.bundle.numbers, *([] if self._beside is None else [self._beside])}
        if strange := sorted(str(key) for key in row if key not in known):
            expected = ", ".join(sorted(known)[:12])
            raise InputError(f"{name} has {one_line(strange[0])[:80]!r}, which this model does not read: expected {expected}.")
        numbers = np.array([_number(row.get(one), one, name) for one in self.bundle.numbers], dtype=np.float64)
        if self._beside is None:
            return None, numbers
        if row.get(self._beside) is None:
            raise InputError(f"{name} has no {self._beside!r}: this model reads one in each row.")
        return prepared_item(next(iter(self.backbones.values())), self._width, row[self._beside], name), numbers

    def warm(self) -> None:
        row: Row = {}
        if self.bundle.backbone is not None and self._beside is not None:
            row = {self._beside: made_up(self.bundle.backbone.modality, self._width)}
        self.answers([self.prepare(row, "a made-up item")])

    def answers(self, prepared: Sequence[tuple[Any, Floats]]) -> list[dict[str, Answer]]:
        """The answers to each item by the name of the label column."""
        numbers = np.stack([numbers for _, numbers in prepared])
        features = {}
        for place in self.bundle.places:
            embedding = (
                torch.zeros(len(prepared), 0) if self.bundle.backbone is None else self._embedded(place, [one for one, _ in prepared])
            )
            features[place] = self.bundle.scaling(embedding, numbers)
        found = {task.name: answers_to(task, features[task.fitted.backbone]) for task in self.bundle.tasks}
        made = [{name: answers[item] for name, answers in found.items()} for item in range(len(prepared))]
        if any(answer.value is None for one in made for answer in one.values()):
            raise InputError("the features of an item are not finite numbers.")
        return made

    def _embedded(self, place: int, items: Sequence[Any]) -> torch.Tensor:
        backbone = self.backbones[place]
        few = cpu_rows(backbone)
        with torch.inference_mode():
            parts = [
                backbone.forward(self._starts[place], backbone.preparation.batch(items[i : i + few])) for i in range(0, len(items), few)
            ]
        return torch.cat(parts).cpu()

    def record(self, answer: dict[str, Answer], threshold: float | None) -> Row:
        """The answers as JSON holds them; the value of a class is null below the threshold."""
        said = {name: answer_record(one) for name, one in answer.items()}
        for one in said.values():
            if threshold is not None and one.get("probability", 1.0) < threshold:
                one["value"] = None
        return {"answers": said}


def _number(given: Any, column: str, name: str) -> float:
    if given is None:
        return math.nan
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InputError(f"{name} has {one_line(str(given))[:40]!r} as {column!r}: expected a number, or null where it is missing.")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{name} has a number that is too large as {column!r}.")
    return number


def _schema(task: TaskModel) -> Row:
    """The JSON schema of an answer to a label column."""
    number: Row = {"type": "number"}
    if task.kind == "float":
        return {"type": "object", "properties": {"value": number, "low": number, "high": number}, "required": ["value"]}
    scores = {"type": "object", "properties": dict.fromkeys(task.names, SHARE), "required": list(task.names)}
    if task.kind == "multi":
        listed = {"type": "array", "items": {"enum": list(task.names)}}
        return {"type": "object", "properties": {"value": listed, "scores": scores}, "required": ["value", "scores"]}
    properties = {"value": {"enum": [*task.names, None]}, "probability": SHARE, "scores": scores}
    return {"type": "object", "properties": properties, "required": ["value", "probability", "scores"]}


def _example(task: TaskModel) -> Row:
    """An answer to a label column, as documentation shows it."""
    if task.kind == "float":
        return {"value": 1.5, "low": 1.2, "high": 1.8}
    scores = {task.names[0]: 0.93, "...": "..."}
    return (
        {"value": [task.names[0]], "scores": scores}
        if task.kind == "multi"
        else {"value": task.names[0], "probability": 0.93, "scores": scores}
    )
