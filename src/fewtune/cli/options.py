"""Flags that several commands share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.text_flags import NO_TEXT_FLAGS, TextFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewtune.backbones.backbone import Backbone
    from fewtune.backbones.providers.text_options import TextOptions
    from fewtune.data.examples import Examples
    from fewtune.data.reading.label_table import LabelTable, Wanted
    from fewtune.machine import Machine
    from fewtune.models.predict import Running


def input_of(given: list[str] | None) -> str | tuple[str, ...] | None:
    """The input column or columns of a flag: one by its name, several as a tuple, None where there is none."""
    return None if not given else given[0] if len(given) == 1 else tuple(given)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """How to read the data.

    Parameters
    ----------
    label: str
        The label column of a table. By default the one named label, class, category, target, intent or y. Repeat it to learn several
        columns at once.
    kind: str
        NAME=class, NAME=float or NAME=multi: what a label column holds: one class, a number, or several labels ("a|b"). Repeat for more.
        By default it is found out.
    metric: str
        What label columns are judged by, instead of accuracy, r2 and average_precision: balanced_accuracy, macro_f1, micro_f1, mcc, auc,
        log_loss, rmse, mae or spearman, each for the columns it suits. Repeat for more. `compare` judges episodes by it too:
        balanced_accuracy, macro_f1, matthews, auc or average_precision.
    numbers: str
        Columns of numbers that are inputs too, beside the photos or texts or alone.
    input: str
        The input column of a table: paths, texts or embeddings. By default the one named path, image, text, sentence, ... Or two columns
        of texts that belong together, such as --input premise hypothesis.
    group: str
        The column of groups (domains, alphabets) of a table.
    class_split: str
        Which classes are for training, validation and test: a JSON or CSV file that names them, or a seed that draws 64, 16 and 20
        percent of them at random.
    skip_bad: bool
        Leave out examples that cannot be read and list them, instead of stopping.
    rotations: bool
        Make four classes of each class of images, by turning them in quarter turns.
    """

    label: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    kind: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    metric: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    numbers: Annotated[list[str], Parameter(negative=(), consume_multiple=True)] = field(default_factory=list)
    input: Annotated[list[str], Parameter(negative=(), consume_multiple=True)] = field(default_factory=list)
    group: str | None = None
    class_split: str | None = None
    skip_bad: bool = False
    rotations: Annotated[bool, Parameter(negative=())] = False

    def read(self, source: Path) -> Examples:
        from fewtune.data.reading.read import read_examples
        from fewtune.data.rotations import rotated
        from fewtune.data.splits import split_classes

        self.refuse_columns()
        examples = read_examples(source, label=self.label[0] if self.label else None, input=input_of(self.input), group=self.group)
        if self.class_split is not None and self.class_split.isdecimal():
            examples = split_classes(examples, seed=int(self.class_split))
        elif self.class_split is not None:
            examples = split_classes(examples, Path(self.class_split))
        return rotated(examples) if self.rotations else examples

    def read_each(self, sources: Sequence[Path]) -> list[Examples]:
        """Several collections that share the names of columns: a collection without columns passes them over, unless all are such."""
        from fewtune.data.reading.read import has_columns

        flags = [self] * len(sources)
        if any(has := [has_columns(path) for path in sources]):
            flags = [self if there else self._without_columns(path) for path, there in zip(sources, has, strict=True)]
        return [one.read(path) for one, path in zip(flags, sources, strict=True)]

    def _without_columns(self, path: Path) -> DataFlags:
        """The flags for a folder, which may say which folders are the classes, for arrays, or for drawn scenes."""
        from fewtune.data.reading.remote import located
        from fewtune.data.reading.scenes import is_scenes

        own = located(path).is_dir() and self.label[:1] in (["inner"], ["outer"], ["both"])
        return replace(self, label=self.label if own or is_scenes(path) else [], input=[], group=None)

    def refuse_columns(self) -> None:
        """Raise InputError where several label columns, kinds or numbers are given to a command that reads one column of classes."""
        from fewtune.errors import InputError

        if len(self.label) > 1 or self.kind or self.numbers:
            flag = "several --label" if len(self.label) > 1 else "--kind" if self.kind else "--numbers"
            raise InputError(f"this command reads one column of classes, found {flag}: give one --label.")

    def columns(self, source: Path, *, episodes: bool = False) -> Wanted | None:
        """The label columns and numbers that are asked for, where they are more than one column of classes; else None. `episodes`: whether
        --metric is for those too."""
        from fewtune.data.reading.label_table import Wanted, single_kind
        from fewtune.errors import InputError

        kinds = {}
        for text in self.kind:
            name, _, kind = text.rpartition("=")
            if not name:
                raise InputError(f"--kind is NAME=class, NAME=float or NAME=multi, found {text!r}.")
            kinds[name] = kind
        labels = tuple(self.label)
        if len(labels) == 1 and not kinds and not self.numbers:
            kinds = {labels[0]: kind} if (kind := single_kind(source, labels[0])) != "class" else {}
        if len(labels) < 2 and not kinds and not self.numbers:
            if self.metric and not episodes:
                raise InputError("--metric is for label columns: several --label, a column of numbers or of several labels.")
            return None
        if self.class_split is not None or self.rotations or self.group is not None:
            raise InputError("--class-split, --rotations and --group are for one column of classes: leave them out.")
        return Wanted(labels=labels, kinds=kinds, numbers=tuple(self.numbers), input=input_of(self.input))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BackboneFlags:
    """Which foundation model, and what it runs on.

    Parameters
    ----------
    backbones: str
        small (the default), base or large: good models for images and for texts, which `fewtune backbones` lists with others. Or a name:
        timm:NAME, open_clip:NAME[/PRETRAINED] or hf:NAME (a name of the hub or a local folder), pixels, precomputed (the default for
        embeddings), embedded (inside fewtune), an untrained conv4, resnet12 or mlp, pair:IMAGE+TEXT (two of these side by side, such as
        pair:timm:NAME+hf:NAME), or run:FOLDER, the finetuned backbone of a saved model, or what pretrain or align made. Options follow
        after commas, as in timm:mobilenetv2_100,size=160. For compare, repeat it for more.
    weights: Path
        The weights of the backbone: a local safetensors or pt file, or a folder, also one of `fewtune fetch`. For run:FOLDER, where those
        of its original backbone are now, if they were moved.
    device: str
        Where to compute: auto, cpu, cuda, cuda:1.
    dtype: str
        Precision of the forward pass. auto is bfloat16 on CUDA and float32 on the CPU.
    chunk: int
        Examples in one forward pass. Fewer need less memory.
    workers: int
        Threads that decode images. 0: one for each core.
    channels_last: bool
        Memory layout of images; it can change the speed.
    compile: bool
        Compile the forward pass. It pays off from many thousand examples on.
    table: str
        Precision of the features that compare keeps. bfloat16 halves what episodes read and rounds each number to 8 bits.
    fast: bool
        Let compare label episodes by compiled kernels, which pip install 'fewtune[fast]' brings. By default where they are installed and a
        setting has 100,000 queries or more.
    accumulate: int
        Split the episodes of a training step into so many parts, one after another. More parts need less memory. 0: chosen to fit.
    recompute: bool
        Train with less memory and a third more time: activations are computed again for the gradient. By default only if they would take
        more than 1 GiB (on a GPU: half of its memory).
    cache: Path
        The folder that keeps embedded examples. By default $FEWTUNE_CACHE or ~/.cache/fewtune/features.
    quiet: bool
        Write no progress to standard error.
    """

    backbones: Annotated[list[str], Parameter(name="--backbone", negative=())] = field(default_factory=list)
    weights: Path | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    chunk: int = 64
    workers: int = 0
    channels_last: bool = True
    compile: Annotated[bool, Parameter(negative=())] = False
    table: Literal["float32", "bfloat16"] = "float32"
    fast: bool | None = None
    accumulate: int = 0
    recompute: bool | None = None
    cache: Path | None = None
    quiet: Annotated[bool, Parameter(negative=())] = False
    reading: Annotated[object, Parameter(parse=False)] = None  # the `TextFlags` of the commands that have them

    @property
    def backbone(self) -> str | None:
        """The backbone that is asked for. Raises InputError where several are."""
        from fewtune.errors import InputError

        if len(self.backbones) > 1:
            raise InputError(f"this command takes one --backbone, found {len(self.backbones)}: leave the others out.")
        return self.backbones[0] if self.backbones else None

    def each(self, starts: Sequence[str] = ()) -> list[BackboneFlags]:
        """The same flags for each of several backbones, or of several starts of one. Raises InputError for --weights of several backbones,
        and for starts that cannot be."""
        from fewtune.errors import InputError

        if starts:
            from fewtune.models.starts import starts_of

            if len(self.backbones) > 1:
                raise InputError(f"--start is for the starts of one --backbone, found {len(self.backbones)}: give one.")
            return [replace(self, backbones=[name], weights=weights) for name, weights in starts_of(self.backbone, starts, self.weights)]
        if len(self.backbones) < 2:
            return [self]
        if self.weights is not None:
            raise InputError("--weights are those of one backbone: give one --backbone.")
        return [replace(self, backbones=[name]) for name in self.backbones]

    def machine(self) -> Machine:
        from fewtune.machine import Machine

        return Machine(
            device=self.device,
            dtype=self.dtype,
            chunk=self.chunk,
            workers=self.workers,
            channels_last=self.channels_last,
            compile=self.compile,
            table=self.table,
            fast=self.fast,
            accumulate=self.accumulate,
            recompute=self.recompute,
        )

    def check(self) -> None:
        """Raise InputError for a backbone, weights or a --cache that cannot be; nothing slow is imported."""
        from fewtune.backbones.providers.check import check_name
        from fewtune.files import refuse_address

        if self.cache is not None:
            refuse_address(self.cache)
        check_name(self.backbone or "small", self.weights)

    def refuse_table(self) -> None:
        """Raise InputError for --table in a command that keeps no features for episodes."""
        from fewtune.errors import InputError

        if self.table != BackboneFlags.table:
            raise InputError(f"--table {self.table} is for compare, whose episodes read the features that it keeps: leave it out.")

    def check_here(self, examples: Examples) -> None:
        """Raise InputError, before torch is loaded, for a known model whose weights are neither here nor to be had from the hub, and for
        ways to read texts where the rows are none."""
        from fewtune.backbones.defaults import chosen
        from fewtune.backbones.known import KNOWN
        from fewtune.errors import InputError
        from fewtune.words import noun_of

        modality = examples.modality
        self.texts.check_for(examples)
        name = chosen(self.backbone, modality).partition(",")[0]
        model = next((one for one in KNOWN if one.name == name), None)
        if model is None or self.weights is not None:
            return
        from fewtune.backbones.offered import weights_here
        from fewtune.backbones.providers.offline import hub_reachable

        if weights_here(model.repository) or hub_reachable():
            return
        own = "timm:NAME --weights FILE, or hf:FOLDER" if modality == "image" else "hf:FOLDER (with the tokenizer)"
        usual = f", the usual model for {noun_of(modality)}s," if not self.backbone else ""
        raise InputError(
            f"{name}{usual} is not on this machine, and the hub cannot be reached: give a model that is here, --backbone {own}; or type "
            f"`fewtune fetch {name} --to FOLDER` where there is a network, copy FOLDER, and give --weights FOLDER."
        )

    def check_table(self, table: LabelTable) -> None:
        """`check_here` of a table with label columns. Raises InputError too where numbers are its only input, and a backbone is given."""
        if table.bare:
            table.refuse_backbone(bool(self.backbones) or self.weights is not None or self.reading not in (None, NO_TEXT_FLAGS))
        else:
            self.check_here(table.examples)

    @property
    def texts(self) -> TextOptions:
        """How texts are read, without the names of their columns."""
        return (self.reading if isinstance(self.reading, TextFlags) else NO_TEXT_FLAGS).value()

    def load(self, examples: Examples) -> Backbone:
        """The backbone for a collection, in its reading of texts."""
        from fewtune.models.reading_texts import backbone_for

        self.check()
        return backbone_for(examples, self.backbone, self.texts, weights=self.weights, machine=self.machine())

    def load_for_names(self, class_names: Sequence[str]) -> Backbone:
        """The backbone that answers by the names of classes, without data."""
        from fewtune.backbones.defaults import chosen
        from fewtune.models.named_backbone import load_backbone

        self.check()
        name = self.texts.onto(chosen(self.backbone, "text"), class_names)
        return load_backbone(name, weights=self.weights, machine=self.machine())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What a saved model runs on.

    Parameters
    ----------
    weights: Path
        Where the weights of the backbone are now, if they were moved.
    device: str
        Where to compute: auto, cpu, cuda, cuda:1.
    quiet: bool
        Write no progress to standard error.
    """

    weights: Path | None = None
    device: str = "auto"
    quiet: Annotated[bool, Parameter(negative=())] = False

    def value(self) -> Running:
        from fewtune.machine import Machine
        from fewtune.models.predict import Running

        return Running(weights=self.weights, machine=Machine(device=self.device), quiet=self.quiet)


NO_DATA_FLAGS = DataFlags()
NO_BACKBONE_FLAGS = BackboneFlags()
NO_RUN_FLAGS = RunFlags()
