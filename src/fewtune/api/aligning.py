"""`align`: an image-text model of an image encoder and a text encoder, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.api.pretraining import readable_data
from fewtune.api.values import Data
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen
from fewtune.data.examples import Examples
from fewtune.data.items import Modality
from fewtune.evaluation.run_folder import Keeping
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone
from fewtune.pretraining.align import align_examples
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.outcome import Pretrained
from fewtune.pretraining.pretrain import Surroundings
from fewtune.report.pretraining_page import pretraining_page


def align(
    data: Data | Sequence[Data],
    *,
    image: Backbone | str = "small",
    text: Backbone | str = "small",
    out: Path | str,
    settings: AlignSettings = AlignSettings(),  # noqa: B008  (frozen)
    cache: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Pretrained:
    """Make one image-text model of an image encoder and a text encoder, and write it into the folder `out`.

    `data`: one collection or a list of them, photos with captions, or with classes whose names are put into `settings.templates`. `image`,
    `text`: the names of the encoders, or the Backbones. `settings`: such as `AlignSettings(most=50, loss="sigmoid")`. `cache`: the folder
    of feature tables. The answer has `.backbone`, `.sentences` and `.record`; in every command and in `load_backbone` the backbone is
    `run:FOLDER`: features are those of images, class names are its label side. Raises InputError (a ValueError), in one sentence, for data,
    towers and folders that do not fit.
    """
    sources = [readable_data(one) for one in (data if isinstance(data, list) else [data])]
    first = image if isinstance(image, Backbone) else tower_of(image, "image")
    second = text if isinstance(text, Backbone) else tower_of(text, "text")
    keeping = Keeping(out=Path(out), overwrite=overwrite)
    return align_read(sources, first, second, settings, keeping, Surroundings(quiet=quiet), None if cache is None else Path(cache))


def tower_of(name: str, modality: Modality, *, weights: Path | None = None, machine: Machine | None = None) -> Backbone:
    """The backbone of a name; small, base and large are those for the modality."""
    return load_backbone(chosen(name, modality), weights=weights, machine=machine)


def align_read(
    sources: Sequence[Examples],
    image: Backbone,
    text: Backbone,
    settings: AlignSettings,
    keeping: Keeping,
    at: Surroundings,
    cache: Path | None = None,
) -> Pretrained:
    """`align` of data that was read."""
    return align_examples(sources, image, text, settings, keeping, replace(at, page=pretraining_page), cache)


__all__ = ["align", "align_read", "tower_of"]
