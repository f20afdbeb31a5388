"""`pretrain`: a backbone made from data, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.api.values import Data, backbone_of
from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_asked
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import expanded
from fewtune.learning.world import join_world, leave_world
from fewtune.pretraining.outcome import Pretrained
from fewtune.pretraining.pretrain import Surroundings, pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.report.pretraining_page import pretraining_page


def pretrain(
    data: Data | Sequence[Data],
    *,
    backbone: Backbone | str,
    out: Path | str,
    settings: PretrainSettings,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = True,
) -> Pretrained:
    """Train a backbone on data, from its own weights or from random ones, and write the run into the folder `out`.

    `data`: one collection or a list of them (anything that `read_examples` reads; labels may be missing where the objective needs none).
    `backbone`: its name or the `Backbone`; `pretrained=false` after its name (conv4 and other small networks always) means random weights.
    `settings`: the objective and the budget, such as `PretrainSettings(objective="supervised", visits=100_000)`. `overwrite`: replace a run
    that fewtune wrote. `resume`: go on with the unfinished run of the same data and settings, bit for bit. `quiet`: no progress on standard
    error. The answer has `.backbone`, `.sentences`, `.curve` and `.record`; in every command and in `load_backbone`, the backbone is
    `run:FOLDER` and its checkpoints `run:FOLDER,step=N`. Raises InputError (a ValueError), in one sentence, for data, settings and folders
    that do not fit.
    """
    sources = [readable_data(one) for one in (data if isinstance(data, list) else [data])]
    if not sources:
        raise InputError("expected data to learn from, found an empty list.")
    model = backbone_of(backbone, sources[0].modality)
    found = pretrain_read(sources, model, settings, Keeping(out=Path(out), overwrite=overwrite, resume=resume), Surroundings(quiet=quiet))
    assert found is not None
    return found


def pretrain_read(
    sources: Sequence[Examples], backbone: Backbone, settings: PretrainSettings, keeping: Keeping, at: Surroundings
) -> Pretrained | None:
    """`pretrain` of data that was read, shared by the processes of torchrun; None after a dry run."""
    world = join_world(backbone.machine.device)
    try:
        here = Surroundings(world=world, quiet=at.quiet, say=at.say if world.leads else lambda _: None, page=pretraining_page, dry=at.dry)
        return pretrain_examples(sources, backbone, settings, keeping, here)
    finally:
        leave_world()


def readable_data(
    data: Data, *, label: str | None = None, input: str | tuple[str, ...] | None = None, group: str | None = None
) -> Examples:
    """Rows to pretrain on; they need no labels. `label`, `input` (two for pairs of texts), `group`: columns of a
    table. A folder without class folders is read as photos without labels."""
    if isinstance(data, Examples):
        return data
    path = expanded(data) if isinstance(data, str | Path) else None
    if path is not None and path.is_dir() and not any(place.is_dir() for place in path.iterdir()):
        return read_inputs([path], (), "image")
    return read_asked(data, Asked(labelled=False, label=label, input=input, group=group))


__all__ = ["Pretrained", "pretrain", "pretrain_read", "readable_data"]
