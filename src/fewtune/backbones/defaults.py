"""The backbone that is used if none is named."""

from __future__ import annotations

from fewtune.data.items import Modality

_DEFAULTS: dict[Modality, str] = {
    "vector": "precomputed",
    "image": "hf:facebook/dinov2-small",
    "text": "hf:sentence-transformers/all-MiniLM-L6-v2",
}


def default_backbone(modality: Modality) -> str:
    """For vectors, the vectors themselves; for images and texts, a small, proven encoder that needs only the library transformers."""
    return _DEFAULTS[modality]
