"""What results depend on of data and of a model, in lines of text: what is hashed, and kept as `study.txt`."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features import features_key
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.spec import digest


def space_facts(space: RowSpace, what: str) -> list[str]:
    """A line for each collection, in order: rows, labels, names, splits, groups and captions."""
    return [collection_fact(source, what) for source in space.sources]


def collection_fact(examples: Examples, what: str) -> str:
    """All that a result can depend on of one collection.

    Not among it: what rows are called, what was left out while reading, label columns beside the target.
    """
    column = examples.column
    parts = {
        "rows": examples.digest(),
        "labels": f"{column.kind} {array_digest(column.values)}",
        "classes": digest(repr(column.names)),
        "class splits": array_digest(examples.class_split),
        "row splits": array_digest(examples.row_split),
        "groups": f"{array_digest(examples.group)} {digest(repr(examples.group_names))}",
        "captions": "none" if examples.caption is None else digest(repr(list(examples.caption))),
    }
    return f"{what} {examples.name!r}: " + ", ".join(f"{name} {value}" for name, value in parts.items())


def backbone_fact(backbone: Backbone) -> str:
    """All that a result can depend on of a model: weights with buffers, preprocessing, structure, groups, and the precision of its passes.

    Of the machine the precision alone counts: bfloat16 gives other features than float32. Device, chunks, threads, memory layout and
    compilation change them by rounding only.
    """
    groups = digest(repr(backbone.groups))
    return f"backbone {backbone.name!r} {features_key(backbone)}, groups {groups}, precision {backbone.machine.dtype}"


def array_digest(values: np.ndarray[Any, Any]) -> str:
    """32 hexadecimal digits for numbers and shape; integers of any width are the same integers."""
    whole = values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)
    return hashlib.blake2b(f"{whole.dtype.kind}{whole.shape}".encode() + np.ascontiguousarray(whole).tobytes(), digest_size=16).hexdigest()
