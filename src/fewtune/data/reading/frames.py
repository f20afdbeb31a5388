"""pandas data frames and Hugging Face datasets, recognised by their methods: neither library is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from PIL import Image

from fewtune.data.examples import NO_SPLIT, Examples, Integers
from fewtune.data.images import decode
from fewtune.data.items import Modality, content_digest
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.columns import from_table
from fewtune.data.reading.order import SPLIT_WORDS
from fewtune.data.reading.table import Table
from fewtune.errors import InputError


def is_data_frame(source: Any) -> bool:
    return hasattr(source, "iloc") and hasattr(source, "columns")


def is_dataset(source: Any) -> bool:
    return (
        hasattr(source, "features")
        and hasattr(source, "column_names")
        and hasattr(source, "__getitem__")
        and hasattr(source, "cast_column")
    )


def is_dataset_dict(source: Any) -> bool:
    return isinstance(source, Mapping) and len(source) > 0 and all(is_dataset(part) for part in source.values())


def table_of(frame: Any, name: str) -> Table:
    """A pandas data frame as a table. The names of rows come from its index; paths are relative to the working folder."""
    names = [str(c) for c in frame.columns]
    if len(set(names)) < len(names):
        raise InputError(f"{name} has several columns named {next(n for n in names if names.count(n) > 1)!r}: rename one.")
    columns = {str(c): [None if _is_na(v) else v for v in frame[c].tolist()] for c in frame.columns}
    index = [str(i) for i in frame.index]
    return Table(name, columns, len(frame), lambda row: f"{name}:{index[row]}", Path())


def _is_na(value: Any) -> bool:
    """Whether a value is None, NaN, or pandas' NA or NaT (which cannot be compared)."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


@final
@dataclass(frozen=True, eq=False)
class Stored:
    """Images of a Hugging Face dataset: encoded bytes or paths are fetched row by row and decoded here."""

    dataset: Any
    column: str
    name: str
    modality: Modality = "image"
    on_disk: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image."""
        value = self.dataset[row][self.column] or {}
        if (content := value.get("bytes")) is not None:
            return bytes(content)
        try:
            return Path(value.get("path") or "").read_bytes()
        except OSError as problem:
            raise InputError(f"{self.name}:{row} cannot be read: {problem.strerror}.") from None

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        return decode(self.read(row), name=f"{self.name}:{row}", size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        return content_digest(self.read(row))


@final
class Columns(Mapping[str, Any]):
    """Columns of a dataset, each read when it is used: images as Stored items, class integers as names, other values as they are."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset.with_format(None), name

    def __iter__(self) -> Iterator[str]:
        return iter(self.dataset.column_names)

    def __len__(self) -> int:
        return len(self.dataset.column_names)

    def __getitem__(self, column: str) -> Any:
        feature = self.dataset.features[column]
        if type(feature).__name__ == "Image":
            from datasets import Image as Undecoded

            kept = self.dataset.select_columns([column]).cast_column(column, Undecoded(decode=False))
            return Stored(kept, column, self.name)
        values = list(self.dataset[column])
        if names := getattr(feature, "names", None):
            return [None if v is None or v < 0 else names[v] for v in values]
        return values


def read_dataset(source: Any, asked: Asked, *, name: str) -> Examples:
    """Examples from a Hugging Face Dataset, or from a DatasetDict, whose keys (train, validation, test) become row splits.

    Images stay encoded until they are used. The names of a ClassLabel become the class names, in its order.
    """
    codes = None
    if is_dataset_dict(source):
        codes = _codes(source)
        source = _joined(list(source.values()), name)
    if not hasattr(source, "__len__"):
        raise InputError(f"{name} is a streaming dataset: expected one that is loaded completely (streaming=False).")
    features = source.features
    images = [column for column in source.column_names if type(features[column]).__name__ == "Image"]
    if asked.input is None and len(images) == 1:
        asked = replace(asked, input=images[0])
    classes = next((f.names for c, f in features.items() if hasattr(f, "names") and c == (asked.label or c)), None)
    table = Table(name, Columns(source, name), len(source), lambda row: f"{name}:{row}", Path())
    known = (list(classes), dict[str, int]()) if classes and asked.kind == "class" else None
    made = from_table(table, replace(asked, name=name), classes=known)
    return made if codes is None else replace(made, row_split=codes)


def _codes(parts: Mapping[str, Any]) -> Integers:
    """Row splits by the keys of a DatasetDict; an unknown key means no split."""
    return np.concatenate(
        [np.full(len(part), SPLIT_WORDS.get(str(key).casefold(), NO_SPLIT), dtype=np.int64) for key, part in parts.items()]
    )


def _joined(parts: Sequence[Any], name: str) -> Any:
    from datasets import concatenate_datasets

    try:
        return concatenate_datasets(list(parts))
    except ValueError as problem:
        raise InputError(f"the parts of {name} do not fit together: {str(problem).splitlines()[0]}") from None
