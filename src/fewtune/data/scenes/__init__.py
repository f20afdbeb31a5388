"""Drawn scenes: pictures of solids on a floor with captions and labels, the same bytes on every machine.

`sampler` draws what is in a scene, `solids`, `sprites` and `picture` make pixels of it, `captions` says it in a sentence, and `items` are
the rows of a collection. `data.reading.scenes` reads names such as `scenes:colour,rows=200`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.scenes.attributes import ATTRIBUTES, Attribute
    from fewtune.data.scenes.captions import captions_of
    from fewtune.data.scenes.items import Scenes
    from fewtune.data.scenes.picture import drawn
    from fewtune.data.scenes.sampler import Scene, attributes_of, scene

# the file of each name; imported when the name is first used
_WHERE = {
    "ATTRIBUTES": "attributes",
    "Attribute": "attributes",
    "Scene": "sampler",
    "Scenes": "items",
    "attributes_of": "sampler",
    "captions_of": "captions",
    "drawn": "picture",
    "scene": "sampler",
}

__all__ = ["ATTRIBUTES", "Attribute", "Scene", "Scenes", "attributes_of", "captions_of", "drawn", "scene"]

__getattr__, __dir__ = opened(__name__, _WHERE)
