"""`fewtune pretrain DATA... --objective NAME --backbone NAME --budget visits=N --out FOLDER`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_BACKBONE_FLAGS, BackboneFlags
from fewtune.cli.text_flags import TextFlags

if TYPE_CHECKING:
    from fewtune.pretraining.settings import PretrainSettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PretrainFlags:
    """What is learned, and for how long.

    Parameters
    ----------
    objective: str
        contrastive: photos and their captions (the column caption of a table; else class names in templates) find each other. simclr: two
        views of a photo find each other; no labels. supervised: the classes. mlm: masked words of texts, by an encoder of hf:NAME.
    mlm: bool
        The same as --objective mlm.
    loss: str
        softmax (CLIP) or sigmoid (SigLIP) for contrastive; nt_xent, one_negative or population for simclr.
    budget: str
        visits=100000: examples to look at, or minutes=10: time to train.
    batch: int
        Examples that are compared with one another.
    groups: int
        Batches of one update. With torchrun, a multiple of the processes, which share them out.
    lr: float
        The highest learning rate. 0: 1e-3 from random weights, 1e-4 from others.
    temperature: float
        Of simclr: it divides cosines.
    view: str
        How photos are seen in training, such as 'simclr(strength=0.5, blur=0.0)', 'Augment(crop=(0.5, 1.0))' or 'InOrder(views=(Rotate(),
        Noise()))'. By default as they are; simclr() for simclr.
    share: float
        Of the words of a text that mlm asks for.
    template: str
        A sentence with one {} for class names. Repeat for more; each row draws one.
    checkpoints: int
        How many are kept on the way, evenly spaced; each is a backbone, run:FOLDER,step=N.
    probe: bool
        Measure a probe on the frozen features on the way. --no-probe saves its time.
    seed: int
        The seed of all random choices.
    memory: float
        Keep up to this many GiB of prepared images in memory, so that an image is not decoded again.
    """

    objective: Literal["contrastive", "simclr", "supervised", "mlm"] = "contrastive"
    mlm: Annotated[bool, Parameter(negative=())] = False
    loss: str = ""
    budget: str | None = None
    batch: int = 128
    groups: int = 1
    lr: float = 0.0
    temperature: float = 0.5
    view: str | None = None
    share: float = 0.15
    template: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    checkpoints: int = 4
    probe: bool = True
    seed: int = 0
    memory: float = 2.0

    def settings(self, *, skip_bad: bool) -> PretrainSettings:
        import math

        from fewtune.cli.source_flags import budget_of
        from fewtune.data.templates import PHOTO_TEMPLATES
        from fewtune.errors import InputError
        from fewtune.pretraining.settings import PretrainSettings

        if self.mlm and self.objective not in ("contrastive", "mlm"):
            raise InputError(f"--mlm and --objective {self.objective} are two objectives: give one of them.")
        if self.budget is None:
            raise InputError("say how long to train: --budget visits=100000 (examples to look at) or --budget minutes=10.")
        minutes, visits = budget_of(self.budget)
        return PretrainSettings(
            objective="mlm" if self.mlm else self.objective,
            loss=self.loss,
            visits=visits,
            minutes=0.0 if math.isinf(minutes) else minutes,
            batch=self.batch,
            groups=self.groups,
            lr=self.lr,
            temperature=self.temperature,
            view=self.view,
            share=self.share,
            templates=tuple(self.template) or PHOTO_TEMPLATES,
            checkpoints=self.checkpoints,
            probe=self.probe,
            skip_bad=skip_bad,
            memory=self.memory,
            seed=self.seed,
        )


_FLAGS = PretrainFlags()


def pretrain(
    data: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    out: Path,
    asked: PretrainFlags = _FLAGS,
    label: str | None = None,
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    pair: Literal["apart", "together"] | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    dry: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Train a backbone on data, from random weights (--backbone NAME,pretrained=false) or its own.

    What it makes is a backbone for every command: --backbone run:FOLDER, or run:FOLDER,step=N for a checkpoint. The plan is said first.
    Ctrl-C stops after the update; --resume goes on from there.

    Parameters
    ----------
    data: Path
        A folder of photos or of class folders, a table, or an .npz file; several are learned from together. Test rows and test classes are
        not used.
    out: Path
        The folder for the backbone, its checkpoints, pretraining.json and report.html.
    label: str
        The label column of a table.
    input: str
        The input column of a table: paths, texts or embeddings. Or two columns of texts that belong together.
    pair: str
        How two texts in each row are read: apart, each by itself, or together, in one sequence.
    skip_bad: bool
        Leave out examples that cannot be read, instead of stopping.
    dry: bool
        Say the plan (updates, examples, time) and stop.
    overwrite: bool
        Replace what fewtune wrote in --out. Other files in that folder stay.
    resume: bool
        Go on with the unfinished run of the same data and settings.
    """
    from fewtune.cli.first import check_data
    from fewtune.cli.options import input_of
    from fewtune.errors import InputError
    from fewtune.progress import stage

    model = replace(model, reading=TextFlags(pair=pair))
    if model.backbone is None:
        raise InputError("say what to pretrain: --backbone NAME, such as conv4, timm:mobilenetv2_100,pretrained=false or run:FOLDER.")
    model.check()
    model.refuse_table()
    check_data(*data)
    with stage("loading PyTorch"):
        import torch  # noqa: F401
    settings = asked.settings(skip_bad=skip_bad)

    from fewtune.api.pretraining import pretrain_read, readable_data
    from fewtune.cli.say import note, tell
    from fewtune.evaluation.run_folder import Keeping
    from fewtune.pretraining.pretrain import Surroundings

    with stage("reading the data"):
        sources = [readable_data(one, label=label, input=input_of(input)) for one in data]
    backbone = model.load(sources[0])
    keeping = Keeping(out=out, overwrite=overwrite, resume=resume)
    found = pretrain_read(sources, backbone, settings, keeping, Surroundings(quiet=model.quiet, say=tell, dry=dry))
    if found is None or not found.leads:
        return
    tell("", *found.sentences)
    note(f"The run is in {found.where}: --backbone run:{found.where} is the backbone.")
