"""What a saved model says of the backbone it was made with."""

from __future__ import annotations

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.places import remember
from fewtune.models.bundle import BackboneRecord


def record_of(backbone: Backbone, width: int) -> BackboneRecord:
    """What a bundle says of the backbone it was made with; where its weights lie is remembered on this machine."""
    place = backbone.place
    remember(backbone.digest(), place)
    return BackboneRecord(
        name=backbone.name,
        weights=None if place.weights is None else place.weights.name,
        folder=place.folder is not None or bool(place.towers),
        digest=backbone.digest(),
        preparation=backbone.preparation.text,
        width=width,
        modality=backbone.preparation.modality,
        source=dict(backbone.source),
    )
