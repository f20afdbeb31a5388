"""Where backbones come from: one file for each library, which is imported only when a model of it is loaded.

`read_name` takes a name such as `timm:NAME,size=160` apart; the functions `load_...` make a `Backbone` from it, with weights from a local
file, the cache or the hub. `fewtune.backbones.load_backbone` chooses the right one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.backbones.providers.names import Name, in_folder, read_name
    from fewtune.backbones.providers.offline import hub_reachable
    from fewtune.backbones.providers.open_clip_provider import load_open_clip
    from fewtune.backbones.providers.small import load_small
    from fewtune.backbones.providers.timm_provider import load_timm
    from fewtune.backbones.providers.transformers_provider import load_transformers
    from fewtune.backbones.providers.without_model import load_pixels, load_precomputed

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Name": "names",
    "hub_reachable": "offline",
    "in_folder": "names",
    "load_open_clip": "open_clip_provider",
    "load_pixels": "without_model",
    "load_precomputed": "without_model",
    "load_small": "small",
    "load_timm": "timm_provider",
    "load_transformers": "transformers_provider",
    "read_name": "names",
}

__all__ = [
    "Name",
    "hub_reachable",
    "in_folder",
    "load_open_clip",
    "load_pixels",
    "load_precomputed",
    "load_small",
    "load_timm",
    "load_transformers",
    "read_name",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
