"""The main job from Python: `adapt(...)` makes a model, `load(...)` opens a saved one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, cast, final, overload

import numpy as np

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.by_method import by_method
from fewtune.adaptation.from_names import from_names as model_of_names
from fewtune.adaptation.settings import AdaptSettings
from fewtune.api.adapted import Adapted
from fewtune.api.columns import AdaptedColumns, Columns, adapted_columns, refuse_sources
from fewtune.api.values import Data, Inputs, backbone_of, check_backbone, examples_of, sources_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.errors import InputError, unknown
from fewtune.files import new_folder
from fewtune.machine import Machine
from fewtune.models.add_class import add_class
from fewtune.models.bundle import Bundle, load_bundle
from fewtune.models.evaluate import Counted, Evaluation, evaluate, read_labelled
from fewtune.models.export import Exported, export_onnx
from fewtune.models.extras import Extras, Near, nearest_examples
from fewtune.models.its_backbone import load_its_backbone
from fewtune.models.pack import pack_into
from fewtune.models.predict import Prediction, Running, own_features, predict_anything, unlabelled, wanted_by
from fewtune.models.reading_texts import NO_OPTIONS, backbone_for, sources_for
from fewtune.sides.job import Workplace

_DEFAULT = AdaptSettings()


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A saved model that labels new inputs.

    `weights`: where the backbone's weights are, if they moved since it was saved. `machine`: what it runs on. The backbone is loaded, and
    checked to be the one the model was made with, at the first prediction and then kept.
    """

    bundle: Bundle
    weights: Path | None = None
    machine: Machine | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone that the model was made with. Raises InputError where its weights are gone or others."""
        return load_its_backbone(self.bundle, weights=self.weights, machine=self.machine)

    def predict(self, inputs: Inputs, *, threshold: float | None = None, skip_bad: bool = False, quiet: bool = True) -> list[Prediction]:
        """One `Prediction` a row, in order: `label` (None where the model abstains), `probability`, `scores` by class name.

        `inputs`: paths of files, folders and tables (one or a list); Examples; a data frame; embeddings [N, D]. To a model of texts,
        strings are the texts themselves and `Path` objects are files. A model of images takes one picture or a list of pictures, of any
        kinds and sizes: a path, encoded bytes (JPEG, PNG, ...), a Pillow image of any mode, or an array or tensor [H, W], [H, W, C] or
        [3, H, W] of uint8, of floats in 0..1 or of 16-bit integers. Several pictures may also be one array [N, H, W], [N, H, W, C] or
        [N, C, H, W]. An array of three axes is one picture where its last axis has 1, 3 or 4 channels or its first has 3; it holds grey
        ones otherwise, or where the model learned from one array of grey pictures of that very size (see
        `fewtune.data.pixels.one_or_many`). All kinds give the same answer, except that a large JPEG is decoded at a reduced size where its
        file or its bytes are given.

        `threshold` in [0, 1]: abstain below this probability, by default what `adapt` was told. `skip_bad`: rows that cannot be read get no
        label instead of being refused. Raises InputError (a ValueError) for what this model cannot label.
        """
        return predict_anything(self.bundle, inputs, self.backbone, threshold=threshold, skip_bad=skip_bad, quiet=quiet)

    def predict_proba(self, inputs: Inputs, *, quiet: bool = True) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities [N, K] of inputs (as `predict` takes them), in the order of `class_names`. `FewShotClassifier.load` opens a saved
        model with the rest of scikit-learn's interface."""
        found = self.predict(inputs, quiet=quiet)
        return np.array([[one.scores[name] for name in self.class_names] for one in found]).reshape(len(found), len(self.class_names))

    def explain(self, inputs: Inputs, *, count: int = 3, quiet: bool = True) -> list[tuple[Near, ...]]:
        """For each input (as `predict` takes them) the `count` labelled examples most like it, the most alike first: `name`, `label`,
        `similarity` (cosine of features, -1 to 1). Raises InputError where the model was saved without the names of its examples."""
        if count < 1:
            raise InputError(f"expected a count of 1 or more, found {count}.")
        Extras(explain=count).check(self.bundle)
        rows = unlabelled(self.bundle, inputs)
        features, _ = own_features(self.bundle, rows, running=Running(backbone=self.backbone, quiet=quiet))
        return nearest_examples(self.bundle, features, count)

    def evaluate(
        self,
        data: Data,
        *,
        label: str | None = None,
        input: str | None = None,
        group: str | None = None,
        quiet: bool = True,
        **counted: Unpack[Counted],
    ) -> Evaluation:
        """What the model gets right on labelled `data` (anything that `adapt` takes); classes are matched by name.

        `label`, `input`, `group`: columns of a table. Rows that the model learned from, by their content, are left out unless
        `include_learned=True`. Classes that it does not know are refused, or left out with `skip_unknown=True`. Rows that cannot be read
        are refused, or left out with `skip_bad=True`. `threshold` in [0, 1]: abstain below this probability. The answer has `.accuracy`,
        `.recall`, `.groups` (by domain, with their mean and the worst), `.confusion`, `.calibration_error` and `.sentences`, which say it
        all. Raises InputError if nothing can be measured.
        """
        rows = read_labelled(data, label=label, input=input, group=group, wanted=wanted_by(self.bundle))
        return evaluate(self.bundle, rows, running=Running(backbone=self.backbone, quiet=quiet), **counted)

    def add_class(self, name: str, inputs: Inputs, *, more: bool = False, skip_bad: bool = False, quiet: bool = True) -> Model:
        """A model that knows one more class, from a few examples of it (as `predict` takes inputs) and without training.

        With `more`, the examples are added to a class that it has. This model stays as it is; the new one's card says what changed.
        Raises InputError for a name that exists already, for examples of another class, and where no example is left.
        """
        rows = unlabelled(self.bundle, inputs)
        made = add_class(self.bundle, name, rows, backbone=self.backbone, more=more, skip_bad=skip_bad, quiet=quiet)
        larger = Model(made.bundle, self.weights, self.machine)
        larger.__dict__["backbone"] = self.backbone  # loaded and checked already
        return larger

    def export(self, path: Path | str, *, inputs: Inputs | None = None) -> Exported:
        """Write the model as one ONNX file, `path`: class probabilities from prepared inputs, class names in its metadata.

        It is written only once onnxruntime answers as fewtune does, to 1e-4, on `inputs` (as `predict` takes them; by default made-up
        rows). The answer has `.difference`, `.size` and `.sentences`, which say how inputs are prepared. Raises InputError where the model
        has no ONNX form or the optional packages are missing.
        """
        rows = None if inputs is None else unlabelled(self.bundle, inputs)
        given = self.__dict__.get("backbone")  # a network of your own cannot be loaded again by its name
        return export_onnx(self.bundle, Path(path), weights=self.weights, examples=rows, backbone=given)

    def save(self, path: Path | str, *, overwrite: bool = False, pack: bool = False) -> Path:
        """Write the bundle, and return where it is (see `Bundle.save`). A packed model stays packed; `pack`: put the weights of the
        backbone into the folder too, so that the folder alone is enough on another machine."""
        with (made := new_folder(Path(path), overwrite=overwrite)) as folder:
            self.bundle.write(folder)
            if pack and self.bundle.packed is None:
                pack_into(folder, self.bundle, weights=self.weights)
        return made.where


def load(run: Path | str, *, weights: Path | str | None = None, machine: Machine | None = None, backbone: Backbone | None = None) -> Model:
    """Open a model that `adapt` saved.

    `run`: its folder. `weights`: where the backbone's weights are now, if they moved. `machine`: what it runs on.
    `backbone`: the one it was made with, where that was a network of your own (`Backbone.of`).
    Raises InputError where the model is missing, was changed, or was written by a newer fewtune, and for another backbone.

    >>> import numpy, tempfile, fewtune
    >>> x = numpy.eye(2, dtype="float32").repeat(8, axis=0)
    >>> folder = tempfile.mkdtemp() + "/pets"
    >>> _ = fewtune.adapt((x, ["cat"] * 8 + ["dog"] * 8), method="centroid").save(folder)
    >>> fewtune.load(folder).predict(x[:1])[0].label
    'cat'
    """
    made = Model(load_bundle(Path(run)), None if weights is None else Path(weights), machine)
    if backbone is not None:
        made.__dict__["backbone"] = load_its_backbone(made.bundle, backbone=backbone)
    return made


@overload
def adapt(
    target: Data,
    *,
    sources: Sequence[Data] = (),
    backbone: Backbone | str | None = None,
    method: str | None = None,
    settings: AdaptSettings = _DEFAULT,
    texts: TextOptions = NO_OPTIONS,
    cache: Path | str | None = None,
    quiet: bool = True,
) -> Adapted: ...


@overload
def adapt(
    target: Data,
    *,
    backbone: Backbone | str | None = None,
    method: str | None = None,
    settings: AdaptSettings = _DEFAULT,
    texts: TextOptions = NO_OPTIONS,
    cache: Path | str | None = None,
    quiet: bool = True,
    **columns: Unpack[Columns],
) -> AdaptedColumns: ...


def adapt(
    target: Data,
    *,
    sources: Sequence[Data] = (),
    backbone: Backbone | str | None = None,
    method: str | None = None,
    settings: AdaptSettings = _DEFAULT,
    texts: TextOptions = NO_OPTIONS,
    cache: Path | str | None = None,
    quiet: bool = True,
    **columns: Any,
) -> Adapted | AdaptedColumns:
    """Make the best classifier from a few labelled examples, and other labelled data if there is any.

    `target`: anything that `read_examples` reads: a folder of class folders, a table, an `.npz`, Examples, a data frame, or a pair (x, y)
    of N inputs and N labels. Inputs are embeddings [N, D], a list of texts, a list of pictures of any kinds and sizes (paths, encoded
    bytes, Pillow images, arrays), or pictures as one array [N, H, W], [N, H, W, C] or [N, C, H, W] of uint8, floats in 0..1 or 16-bit
    integers. `sources`: other labelled data, each anything of the kind. The backbone is finetuned on the labels and on those tasks of the
    sources that suit the target; what is likely best on examples that it never saw is used. `backbone`: the foundation model, by its name
    or as a `Backbone` (`load_backbone` takes its weights and the machine to run on); by default one that suits the data. `run:FOLDER` is
    the finetuned backbone of a saved model. `method`: the text of one learner, instead of the best of all; or of a method that finetunes,
    on the own labels (`contrastive(on='support')`) or on the sources (`multitask(shots=5)`). `settings`: what is seldom changed, such as
    `AdaptSettings(seed=1, minutes=10, finetune="never")`. `texts`: how texts are read, such as `TextOptions(template="{text} It
    was [MASK].", words=("positive=great", "negative=terrible"))` for a masked language model. `cache`: the folder for embedded rows (by
    default the user's). `quiet`: no
    progress on standard error. The answer has `.predict(inputs)`, `.save(folder)`, `.report(file)`, `.sentences` (the verdict) and
    `.choice.expected` (the accuracy to expect, 0 to 1). Raises InputError (a ValueError), in one sentence, for data it cannot learn from
    and for a wrong setting.

    A table (a file or a data frame) with several label columns, with numbers to predict, or with columns of numbers among its inputs: name
    its columns with `label`, and if need be `kinds`, `numbers`, `input` and `metric` (see `Columns`). The answer is then an
    `AdaptedColumns`, and `method` a network such as "shared_bottom(width=32)".

    >>> import numpy, fewtune
    >>> x = numpy.eye(2, dtype="float32").repeat(8, axis=0)  # embeddings [16, 2]
    >>> adapted = fewtune.adapt((x, ["cat"] * 8 + ["dog"] * 8), method="centroid")
    >>> adapted.class_names
    ('cat', 'dog')
    >>> [answer.label for answer in adapted.predict(numpy.array([[0.9, 0.1], [0.2, 0.8]], dtype="float32"))]
    ['cat', 'dog']
    """
    if columns:
        refuse_sources(sources)
        asked = _columns(columns)
        return adapted_columns(target, asked, backbone=backbone, method=method, settings=settings, texts=texts, cache=cache, quiet=quiet)
    examples = examples_of(target)
    check_backbone(backbone)
    model = backbone_for(examples, backbone, texts)
    how, methods = by_method(settings, method)
    outcome = adapt_examples(
        examples,
        model,
        sources=sources_for(model, sources_of(sources)),
        settings=how,
        methods=methods,
        at=Workplace(cache=None if cache is None else Path(cache), quiet=quiet),
    )
    return Adapted(outcome)


def from_names(class_names: Sequence[str], *, backbone: Backbone | str, prompts: Sequence[str] = (), threshold: float = 0.0) -> Model:
    """A model from the names of two or more classes, without labelled examples: each input gets the class whose name is nearest to it.

    `backbone`: one that reads class names, by its name or as a `Backbone`: a text encoder for texts, a CLIP model for photos. `prompts`:
    sentences around a name, such as "a photo of a {}". `threshold` in [0, 1]: abstain below this probability. Nobody can tell how often
    it is right, nor are its probabilities calibrated, until it is measured: `model.evaluate(labelled)`. Raises InputError (a ValueError)
    for a backbone that cannot read names, and for names that are empty, fewer than two, or given twice.

    Reference: Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021.
    """
    model = backbone_of(backbone, "text")
    made = Model(model_of_names(class_names, model, prompts=tuple(prompts), threshold=threshold).bundle)
    made.__dict__["backbone"] = model
    return made


def _columns(given: Mapping[str, Any]) -> Columns:
    """Raises InputError for an unknown name."""
    for name in given:
        if name not in Columns.__annotations__:
            raise unknown("argument of adapt", name, Columns.__annotations__)
    return cast(Columns, given)


__all__ = ["Adapted", "Model", "adapt", "from_names", "load"]
