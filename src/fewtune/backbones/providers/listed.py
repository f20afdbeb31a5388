"""The names that timm and open_clip offer, read from their files: importing these libraries takes seconds, and a misspelt name is told at
once."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

_MODEL = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_WEIGHTS = re.compile(r"^\s*['\"]([a-z0-9_]+\.[\w.\-]+)['\"]\s*:", re.MULTILINE)


def installed(library: str) -> bool:
    """Whether a library is installed, without importing it."""
    return importlib.util.find_spec(library) is not None


@functools.cache
def timm_models() -> frozenset[str]:
    """The architectures of timm: "mobilenetv2_100". Empty if timm is not installed."""
    return frozenset(name for text in _sources() for name in _MODEL.findall(text))


@functools.cache
def timm_weights() -> frozenset[str]:
    """The models of timm with the tag of their weights: "mobilenetv2_100.ra_in1k"."""
    known = timm_models()
    found = {name for text in _sources() for name in _WEIGHTS.findall(text)}
    return frozenset(name for name in found if name.partition(".")[0] in known and not name.endswith(".untrained"))


@functools.cache
def open_clip_models() -> frozenset[str]:
    """The architectures of open_clip: "ViT-B-32". Empty if open_clip is not installed."""
    folder = _folder("open_clip")
    return frozenset() if folder is None else frozenset(path.stem for path in (folder / "model_configs").glob("*.json"))


def _folder(library: str) -> Path | None:
    spec = importlib.util.find_spec(library)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _sources() -> list[str]:
    folder = _folder("timm")
    if folder is None:
        return []
    return [path.read_text(encoding="utf-8", errors="replace") for path in sorted((folder / "models").glob("*.py"))]
