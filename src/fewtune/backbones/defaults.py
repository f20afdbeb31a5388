"""The backbone that is taken where none is named."""

from __future__ import annotations

from fewtune.data.items import Modality

_DEFAULTS: dict[Modality, str] = {
    "vector": "precomputed",
    "image": "hf:facebook/dinov2-small",
    "text": "hf:sentence-transformers/all-MiniLM-L6-v2",
}


def default_backbone(modality: Modality) -> str:
    """Embeddings as they are; for images and texts a small, well-tried encoder that transformers alone can load."""
    return _DEFAULTS[modality]
