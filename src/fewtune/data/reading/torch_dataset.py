"""A map-style `torch.utils.data.Dataset` of (input, label): rows are fetched when they are used, labels are read once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Item, Modality, content_digest, pixels_digest
from fewtune.data.pictures import read_pictures
from fewtune.data.pixels import plain
from fewtune.data.reading.arrays import as_vectors, read_arrays
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.labels import as_labels
from fewtune.errors import InputError

_ROW = "expected rows (input, label), where an input is a Pillow image, an array or tensor, or a text"


def is_torch_dataset(source: Any) -> bool:
    """Whether it is a torch Dataset, without importing torch."""
    data = getattr(sys.modules.get("torch"), "utils", None)
    kind = getattr(getattr(data, "data", None), "Dataset", None)
    return kind is not None and isinstance(source, kind)


@final
@dataclass(frozen=True, eq=False)
class Fetched:
    """The inputs of a dataset. They are fetched one at a time, because a dataset may hold an open file, which threads must not share."""

    dataset: Any
    name: str
    modality: Modality
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, row: int, size_hint: int | None = None) -> Item:
        with self.lock:
            value = plain(_input(_item(self.dataset, row, self.name)))
        called = f"{self.name}:{row}"
        if (found := _modality(value)) != self.modality:
            raise InputError(f"{called} is a {found or type(value).__name__}, and the rows before it are {self.modality}s: {_ROW}.")
        if self.modality == "text":
            return str(value)
        if self.modality == "vector":
            vector: np.ndarray[Any, np.dtype[np.float32]] = as_vectors(np.asarray(value)[None], called)[0]
            return vector
        picture = read_pictures([value], [called], self.name)[0]
        return picture.fetch(0, size_hint)

    def digest(self, row: int) -> bytes:
        value = self.fetch(row)
        if isinstance(value, str):
            return content_digest(value.encode(errors="surrogatepass"))
        return pixels_digest(np.asarray(value)) if isinstance(value, Image.Image) else content_digest(value.tobytes())


def read_torch_dataset(dataset: Any, asked: Asked, *, name: str) -> Examples:
    """Examples from a map-style torch Dataset whose rows are (input, label), such as those of torchvision.

    Inputs: Pillow images; arrays or tensors, as `read_arrays` takes one picture, or a vector [D]; texts. They are fetched when they are
    used. Labels come from `.targets`, if the dataset has it and has no `target_transform`; else from one pass over its rows. The names of
    integer labels come from `.classes`. A Subset uses those of its dataset. If no labels are needed, rows may be inputs alone.
    Raises InputError for a streaming dataset, for rows of another form, and for inputs that change each time they are read (a random
    transform).
    """
    if asked.label or asked.input or asked.group or asked.split:
        raise InputError(f"{name} is a torch Dataset, which has no columns: expected rows (input, label).")
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InputError(f"{name} is a streaming torch Dataset: expected one with a length and rows by number (map-style).")
    if (tensors := getattr(dataset, "tensors", None)) is not None and len(tensors) == 2:
        return read_arrays(tensors[0], tensors[1] if asked.labelled else None, replace(asked, name=name))
    if not len(dataset):
        raise InputError(f"{name} is a torch Dataset without rows: {_ROW}.")
    first = plain(_input(_item(dataset, 0, name)))
    modality = _modality(first)
    if modality is None:
        shape = f" {list(first.shape)}" if isinstance(first, np.ndarray) else ""
        raise InputError(f"{name}:0 is a {type(first).__name__}{shape}: {_ROW}.")
    items = Fetched(dataset, name, modality)
    if items.digest(0) != items.digest(0):
        raise InputError(
            f"{name} gives a different row 0 each time it is read: remove its random transform (finetuning augments by itself)."
        )
    if not asked.labelled:
        return make_examples(items, name=name)
    names = _classes(dataset)
    values = _labels(dataset, name)
    return make_examples(items, as_labels(values, name, names, asked.kind), name=name, class_names=names)


def _item(dataset: Any, row: int, name: str) -> Any:
    try:
        return dataset[row]
    except Exception as problem:  # a dataset is other people's code: it may raise anything
        said = (str(problem).splitlines() or [""])[0].rstrip(".")
        raise InputError(f"{name}:{row} cannot be read ({type(problem).__name__}: {said}).") from None


def _input(item: Any) -> Any:
    return item[0] if isinstance(item, tuple | list) and item else item


def _modality(value: Any) -> Modality | None:
    """The modality of one input, None if fewtune cannot read it."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, Image.Image | bytes | Path):
        return "image"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {1: "vector", 2: "image", 3: "image"}.get(value.ndim)  # type: ignore[return-value]  # these are modalities
    return None


def _below(dataset: Any) -> tuple[Any, Sequence[int]] | None:
    """The dataset of a Subset, and the rows that it takes from it."""
    inner, rows = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    return None if inner is None or rows is None else (inner, [int(row) for row in rows])


def _classes(dataset: Any) -> list[str] | None:
    if (below := _below(dataset)) is not None:
        return _classes(below[0])
    found = getattr(dataset, "classes", None)
    return [str(name) for name in found] if isinstance(found, list | tuple) and found else None


def _known_labels(dataset: Any) -> Any:
    """All labels if the dataset stores them separately from its rows, else None."""
    if (below := _below(dataset)) is not None:
        known = _known_labels(below[0])
        return None if known is None else [known[row] for row in below[1]]
    targets = plain(getattr(dataset, "targets", None))
    changed = getattr(dataset, "target_transform", None) is not None
    fits = not changed and hasattr(targets, "__len__") and len(targets) == len(dataset)
    return targets if fits else None


def _labels(dataset: Any, name: str) -> Any:
    """One label for each row: an array of integers, or a list."""
    if (known := _known_labels(dataset)) is None:
        known = [_label(_item(dataset, row, name), row, name) for row in range(len(dataset))]
    values = [plain(value) for value in known]
    values = [value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value for value in values]
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return np.array(values, dtype=np.int64) if whole else values


def _label(item: Any, row: int, name: str) -> Any:
    if not isinstance(item, tuple | list) or len(item) != 2:
        found = f"{len(item)} values" if isinstance(item, tuple | list) else f"a {type(item).__name__}"
        raise InputError(f"{name}: row {row} is {found}: {_ROW}.")
    return item[1]
