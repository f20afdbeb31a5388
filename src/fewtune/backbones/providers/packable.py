"""What of a backbone is packed beside a model: its weights, and settings files that hold no code and no paths."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone

_NOTES = (
    "_name_or_path",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "cache_dir",
    "auto_map",
)
_KINDS = (".json", ".txt", ".jinja")
_LICENCE = re.compile(r"^license:\s*['\"]?([\w .:/+-]{1,60}?)['\"]?\s*$", re.MULTILINE)
_LONGEST_CARD = 1 << 20  # characters


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Packable:
    """`name`: how the backbone is loaded from the folder with the `files` (settings by name) and its `weights`.

    `folder`: the library reads that folder itself; else it is given the file of weights alone. `licence` of the weights, None where it is
    not known. `parts`: models inside it, each packed into a folder of that name.
    """

    name: str
    weights: Mapping[str, Tensor]
    files: Mapping[str, bytes] = field(default_factory=dict)
    folder: bool = False
    licence: str | None = None
    parts: Mapping[str, Backbone] = field(default_factory=dict)


def settings(content: bytes) -> bytes:
    """A settings file in JSON, without the notes in which libraries keep paths and names of code."""
    said = json.loads(content)
    if isinstance(said, dict):
        said = {name: value for name, value in said.items() if name not in _NOTES}
    return json.dumps(said, indent=1, ensure_ascii=False).encode(errors="backslashreplace")


def tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    """The files of a tokenizer of transformers: JSON and text alone."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        found = {file.name: file.read_bytes() for file in sorted(Path(scratch).iterdir()) if file.suffix in _KINDS}
    return {name: settings(content) if name.endswith("config.json") else content for name, content in found.items()}


def with_options(name: str, without: tuple[str, ...] = (), **options: object) -> str:
    """A backbone's name with these options in place of those it has, and without some."""
    head, *parts = name.split(",")
    kept = dict(part.split("=", 1) for part in parts)
    kept |= {option: str(value).lower() if isinstance(value, bool) else str(value) for option, value in options.items()}
    return ",".join([head, *(f"{option}={value}" for option, value in kept.items() if option not in without)])


def licence_in(card: str) -> str | None:
    """The licence that the head of a model card names (the YAML between two lines of ---)."""
    parts = card[:_LONGEST_CARD].split("---", 2)
    found = _LICENCE.search(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    return None if found is None else found[1]
