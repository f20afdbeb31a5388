"""`fewtune align DATA... --image NAME --text NAME --out FOLDER`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.machine import Machine
    from fewtune.pretraining.align_settings import AlignSettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Towers:
    """The two towers.

    Parameters
    ----------
    image: str
        The image encoder: small (the default), base or large, timm:NAME, hf:NAME, or another backbone for photos.
    image_weights: Path
        Its weights, if they are a local file or folder.
    text: str
        The text encoder: small (the default), base or large, hf:NAME, or another backbone that reads texts.
    text_weights: Path
        Its weights, if they are a local file or folder.
    device: str
        Where to compute: auto, cpu, cuda, cuda:1.
    cache: Path
        The folder that keeps embedded photos. By default $FEWTUNE_CACHE or ~/.cache/fewtune/features.
    quiet: bool
        Write no progress to standard error.
    """

    image: str = "small"
    image_weights: Path | None = None
    text: str = "small"
    text_weights: Path | None = None
    device: str = "auto"
    cache: Path | None = None
    quiet: Annotated[bool, Parameter(negative=())] = False

    def check(self) -> None:
        """Raise InputError for a name or weights that cannot be; nothing slow is imported."""
        from fewtune.backbones.providers.check import check_name

        check_name(self.image, self.image_weights)
        check_name(self.text, self.text_weights)

    def machine(self) -> Machine:
        from fewtune.machine import Machine

        return Machine(device=self.device)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AlignFlags:
    """How they are aligned.

    Parameters
    ----------
    most: int
        Learn from at most so many rows of each class, and from at most so many rows without a class in all. 0: all rows.
    loss: str
        softmax (InfoNCE both ways, as CLIP) or sigmoid (as SigLIP).
    towers: str
        What moves beside the projections: nothing (locked: photos and texts are read once), lora (low-rank changes of both towers), or all
        of their weights.
    steps: int
        Updates of the projections at most. 0 keeps the closed form that they begin with.
    tower_steps: int
        Updates of --towers lora or all.
    batch: int
        Rows of an update of the projections.
    lr: float
        Learning rate of the projections, relative to the size of their weights.
    tower_lr: float
        Learning rate of --towers lora or all.
    template: str
        A sentence with one {} for class names, where rows have no captions. Repeat for more; several are averaged.
    seed: int
        The seed of all random choices.
    """

    most: int = 0
    loss: Literal["softmax", "sigmoid"] = "softmax"
    towers: Literal["locked", "lora", "all"] = "locked"
    steps: int = 100
    tower_steps: int = 200
    batch: int = 512
    lr: float = 0.01
    tower_lr: float = 1e-5
    template: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    seed: int = 0

    def settings(self, *, skip_bad: bool) -> AlignSettings:
        from fewtune.data.templates import PHOTO_TEMPLATES
        from fewtune.pretraining.align_settings import AlignSettings

        return AlignSettings(
            most=self.most,
            loss=self.loss,
            towers=self.towers,
            steps=self.steps,
            tower_steps=self.tower_steps,
            batch=self.batch,
            lr=self.lr,
            tower_lr=self.tower_lr,
            templates=tuple(self.template) or PHOTO_TEMPLATES,
            skip_bad=skip_bad,
            seed=self.seed,
        )


_TOWERS, _FLAGS = Towers(), AlignFlags()


def align(
    data: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    out: Path,
    pair: Towers = _TOWERS,
    asked: AlignFlags = _FLAGS,
    label: str | None = None,
    input: str | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make an image-text model of an image encoder and a text encoder, from photos with captions or class names.

    What it makes is a backbone for every command: --backbone run:FOLDER.

    Parameters
    ----------
    data: Path
        A table with a column named caption, a folder of class folders, or an .npz file; several are learned from together. Test rows and
        test classes are not used; validation rows and classes only choose settings.
    out: Path
        The folder for the backbone, pretraining.json and report.html.
    label: str
        The label column of a table.
    input: str
        The input column of a table: paths.
    skip_bad: bool
        Leave out examples that cannot be read, instead of stopping.
    overwrite: bool
        Replace what fewtune wrote in --out. Other files in that folder stay.
    """
    from fewtune.cli.first import check_data
    from fewtune.progress import stage

    pair.check()
    check_data(*data)
    with stage("loading PyTorch"):
        import torch  # noqa: F401
    settings = asked.settings(skip_bad=skip_bad)

    from fewtune.api.aligning import align_read, tower_of
    from fewtune.api.pretraining import readable_data
    from fewtune.cli.say import note, tell
    from fewtune.evaluation.run_folder import Keeping
    from fewtune.files import refuse_existing
    from fewtune.pretraining.pretrain import Surroundings

    refuse_existing(out, overwrite=overwrite)
    with stage("reading the data"):
        sources = [readable_data(one, label=label, input=input) for one in data]
    image = tower_of(pair.image, "image", weights=pair.image_weights, machine=pair.machine())
    text = tower_of(pair.text, "text", weights=pair.text_weights, machine=pair.machine())
    at = Surroundings(quiet=pair.quiet, say=tell)
    found = align_read(sources, image, text, settings, Keeping(out=out, overwrite=overwrite), at, pair.cache)
    tell("", *found.sentences)
    note(f"The run is in {found.where}: --backbone run:{found.where} is the backbone.")
