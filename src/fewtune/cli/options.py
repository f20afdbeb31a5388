"""Flags that several commands share, and how they become values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone
    from fewtune.data.examples import Examples
    from fewtune.data.items import Modality
    from fewtune.machine import Machine
    from fewtune.models.predict import Running


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """How to read the data.

    Parameters
    ----------
    label: str
        The label column of a table (by default one named label, class, category, target, intent or y).
    input: str
        The input column of a table: a path, a text or an embedding (by default one named path, image, text, sentence, ...).
    group: str
        The column of groups (domains, alphabets).
    class_split: str
        Train, validation and test classes: a JSON or CSV file that names them, or a seed for 64, 16 and 20 percent at random.
    skip_bad: bool
        Leave out rows that cannot be read (they are listed) instead of refusing the data.
    rotations: bool
        Make four classes of each image class, by quarter turns.
    """

    label: str | None = None
    input: str | None = None
    group: str | None = None
    class_split: str | None = None
    skip_bad: bool = False
    rotations: Annotated[bool, Parameter(negative=())] = False

    def read(self, source: Path) -> Examples:
        from fewtune.data.reading.read import read_examples
        from fewtune.data.rotations import rotated
        from fewtune.data.splits import split_classes

        examples = read_examples(source, label=self.label, input=self.input, group=self.group)
        if self.class_split is not None and self.class_split.isdecimal():
            examples = split_classes(examples, seed=int(self.class_split))
        elif self.class_split is not None:
            examples = split_classes(examples, Path(self.class_split))
        return rotated(examples) if self.rotations else examples


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BackboneFlags:
    """Which foundation model, and what it runs on.

    Parameters
    ----------
    backbone: str
        timm:NAME, open_clip:NAME[/PRETRAINED], hf:NAME (hub names or local folders), pixels, precomputed, or an untrained conv4, resnet12
        or mlp; options after commas, as in
        timm:mobilenetv2_100,size=160. By default precomputed for embeddings, hf:facebook/dinov2-small for images and
        hf:sentence-transformers/all-MiniLM-L6-v2 for texts.
    weights: Path
        The model's weights: a local safetensors or pt file, or a folder.
    device: str
        auto, cpu, cuda, cuda:1.
    dtype: str
        Precision of the forward pass; auto is bfloat16 on CUDA and float32 on the CPU.
    chunk: int
        Rows in one forward pass.
    workers: int
        Decoding threads; 0 means as many as there are cores.
    channels_last: bool
        Memory layout of images.
    compile: bool
        Compile the forward pass (worth it for many thousand rows).
    accumulate: int
        Parts in which a training step's episodes are answered, one after another; 0 means as many as memory asks for.
    recompute: bool
        Train with less memory and a third more time: activations are computed again for the gradient. By default only where they would
        take more than 1 GiB (on a GPU: half of its memory).
    cache: Path
        Where embedded rows are kept (by default $FEWTUNE_CACHE or ~/.cache/fewtune/features).
    quiet: bool
        No progress on standard error.
    """

    backbone: str | None = None
    weights: Path | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    chunk: int = 64
    workers: int = 0
    channels_last: bool = True
    compile: Annotated[bool, Parameter(negative=())] = False
    accumulate: int = 0
    recompute: bool | None = None
    cache: Path | None = None
    quiet: Annotated[bool, Parameter(negative=())] = False

    def machine(self) -> Machine:
        from fewtune.machine import Machine

        return Machine(
            device=self.device,
            dtype=self.dtype,
            chunk=self.chunk,
            workers=self.workers,
            channels_last=self.channels_last,
            compile=self.compile,
            accumulate=self.accumulate,
            recompute=self.recompute,
        )

    def load(self, modality: Modality) -> Backbone:
        from fewtune.backbones.defaults import default_backbone
        from fewtune.backbones.load import load_backbone
        from fewtune.errors import InputError

        if self.weights is not None and not self.weights.exists():
            raise InputError(f"--weights {self.weights} does not exist: expected a local safetensors or pt file, or a folder.")
        return load_backbone(self.backbone or default_backbone(modality), weights=self.weights, machine=self.machine())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What a saved model runs on.

    Parameters
    ----------
    weights: Path
        Where the backbone's weights are now, if they moved.
    device: str
        auto, cpu, cuda, cuda:1.
    quiet: bool
        No progress on standard error.
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
