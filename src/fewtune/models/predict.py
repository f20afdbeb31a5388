"""Predicting with a saved model: rows are embedded once by its backbone, the head answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features, remarks_on_length
from fewtune.backbones.providers.text_options import fields_of_name
from fewtune.data.examples import Examples
from fewtune.data.items import Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.frames import is_data_frame, is_dataset
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.order import some
from fewtune.data.reading.read import read_asked
from fewtune.data.reading.torch_dataset import is_torch_dataset
from fewtune.data.reading.two_texts import check_fields
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.bundle import Bundle
from fewtune.models.extras import NO_EXTRAS, Extras, Near, nearest_examples, rejected, sets_of
from fewtune.models.its_backbone import load_its_backbone
from fewtune.models.record import checked_threshold, picture_size
from fewtune.recipes.language import read_method
from fewtune.words import counted


@final
@dataclass(frozen=True)
class Prediction:
    """One answer. `label` is None where the model abstains; `scores` are probabilities by class name and sum to 1.

    `problem`: why the row cannot be read, "" for one that can. Such a row has no label, no scores and probability 0. `unknown`: whether the
    row is unlike all that the model learned from, where that was asked for; it has no label then. `likely`: the classes that hold the right
    one as often as was asked for, the likeliest first; None where it was not. `because`: the labelled examples most like the row, where
    that was asked for.
    """

    input: str
    label: str | None
    probability: float
    scores: dict[str, float]
    problem: str = ""
    unknown: bool = False
    likely: tuple[str, ...] | None = None
    because: tuple[Near, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Running:
    """What a saved model runs on.

    `weights`: where its backbone's weights are now, if they moved. `machine`: the device and its settings. `backbone`: the bundle's own
    where it is loaded already (see `load_its_backbone`). `quiet`: no progress on standard error.
    """

    weights: Path | None = None
    machine: Machine | None = None
    backbone: Backbone | None = None
    quiet: bool = True

    def load(self, bundle: Bundle) -> Backbone:
        """The backbone of the bundle. Raises InputError where its weights are gone or others."""
        return self.backbone or load_its_backbone(bundle, weights=self.weights, machine=self.machine)


_HERE = Running()


def probabilities(bundle: Bundle, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
    """Calibrated class probabilities of embedded rows."""
    method: Method = read_method(bundle.method)
    like = {k: v.to(features) for k, v in bundle.state.items()}
    parameters = {k: v.to(features) for k, v in bundle.parameters.items()}
    with torch.inference_mode():
        logits = method.head.score(like, features[None], parameters)[0]
    return torch.softmax(logits.double() / bundle.temperature, dim=-1)


def label_rows(
    bundle: Bundle,
    names: Sequence[str],
    features: Float[Tensor, "N D"],
    threshold: float | None = None,
    problems: Mapping[int, str] = MappingProxyType({}),
) -> list[Prediction]:
    """One prediction a row, in order. A row without features (NaN) has no label and no scores; `problems`: why, by row."""
    least = threshold_of(bundle, threshold)
    out = []
    for place, (name, row) in enumerate(zip(names, probabilities(bundle, features).tolist(), strict=True)):
        if any(math.isnan(p) for p in row):
            out.append(Prediction(name, None, 0.0, {}, problems.get(place, "")))
            continue
        best = max(range(len(row)), key=row.__getitem__)
        label = bundle.class_names[best] if row[best] >= least else None
        out.append(Prediction(name, label, row[best], dict(zip(bundle.class_names, row, strict=True))))
    return out


def threshold_of(bundle: Bundle, given: float | None) -> float:
    """The probability below which no label is given. Raises InputError for a given one outside 0 to 1."""
    return bundle.threshold if given is None else checked_threshold(given)


def refuse_other_modality(bundle: Bundle, examples: Examples) -> None:
    """Raise InputError where a model is given rows of a kind that it cannot label, or one text where it reads two."""
    if examples.modality != bundle.backbone.modality:
        raise InputError(f"this model labels {bundle.backbone.modality}s, but {examples.name} holds {examples.modality}s.")
    if examples.modality == "text":
        check_fields(examples, fields_of_name(bundle.backbone.name))


def own_features(
    bundle: Bundle,
    examples: Examples,
    *,
    running: Running = _HERE,
    skip_bad: bool = False,
) -> tuple[Float[Tensor, "N D"], dict[int, str]]:
    """Features of rows by the bundle's own backbone, and the rows that cannot be read, with the reasons.

    Those are refused by name, or have features of NaN with `skip_bad`. Raises InputError for another modality or width.
    """
    refuse_other_modality(bundle, examples)
    _, features, bad = readable_features(examples, running.load(bundle), memory=True, skip_bad=skip_bad, quiet=running.quiet)
    if features.shape[1] != bundle.backbone.width:
        raise InputError(
            f"this model labels embeddings of width {bundle.backbone.width}, but {examples.name} has width {features.shape[1]}."
        )
    return features.float(), bad


def predict_examples(
    bundle: Bundle,
    examples: Examples,
    *,
    threshold: float | None = None,
    skip_bad: bool = False,
    running: Running = _HERE,
    tell: Callable[[str], None] = warnings.warn,
    extras: Extras = NO_EXTRAS,
) -> list[Prediction]:
    """One prediction a row. Rows that cannot be read are refused by name, or with `skip_bad` answered without a label.

    `threshold` in [0, 1]: abstain below this probability; by default the bundle's. `tell` gets remarks on the answers, such as how many
    texts were cut; by default they are warnings. `extras`: what else is to be said of each row.
    """
    refuse_other_modality(bundle, examples)
    extras.check(bundle)
    if not len(examples):
        return []
    here = replace(running, backbone=running.load(bundle))
    features, problems = own_features(bundle, examples, running=here, skip_bad=skip_bad)
    if examples.skipped:
        listed = some((f"{s.name} ({s.reason})" for s in examples.skipped), 3)
        tell(f"{counted(len(examples.skipped), 'file', ('was', 'were'))} skipped: {listed}.")
    for sentence in (*examples.remarks, *remarks_on_length(examples, here.load(bundle))):
        tell(sentence)
    answers = label_rows(bundle, examples.row_names, features, threshold, problems)
    return _with_extras(bundle, examples, answers, features, extras, here)


def _with_extras(
    bundle: Bundle, examples: Examples, answers: list[Prediction], features: Float[Tensor, "N D"], extras: Extras, here: Running
) -> list[Prediction]:
    """The answers with what was asked for beside them; those to rows that cannot be read stay as they are."""
    read = [row for row, p in enumerate(answers) if p.scores]
    if not read or extras == NO_EXTRAS:
        return answers
    own, made = features[read], list(answers)
    unknown = [False] * len(read)
    if extras.unknown:
        apart = bundle.support is not None and bundle.support.apart is not None
        seen = _features_apart(bundle, examples.take(read), here) if apart else own
        unknown = rejected(bundle, seen).tolist()
    sets = [None] * len(read) if extras.sets is None else sets_of(bundle, probabilities(bundle, own), extras.sets)
    because = nearest_examples(bundle, own, extras.explain) if extras.explain else [()] * len(read)
    for row, strange, likely, near in zip(read, unknown, sets, because, strict=True):
        p = answers[row]
        made[row] = replace(p, label=None if strange else p.label, unknown=strange, likely=likely, because=near)
    return made


def _features_apart(bundle: Bundle, examples: Examples, here: Running) -> Float[Tensor, "N D"]:
    """Features by the backbone as it was before finetuning."""
    before = replace(bundle, moved=None)
    loaded = here.load(bundle)
    plain = loaded.origin or load_its_backbone(before, weights=here.weights, machine=here.machine)
    _, features, _ = readable_features(examples, plain, memory=True, skip_bad=True, quiet=here.quiet)
    return features.float()


def predict_anything(
    bundle: Bundle, inputs: Any, backbone: Backbone, *, threshold: float | None = None, skip_bad: bool = False, quiet: bool = True
) -> list[Prediction]:
    """Predictions for any kind of Python value; `Model.predict` describes the kinds."""
    examples = unlabelled(bundle, inputs)
    return predict_examples(bundle, examples, threshold=threshold, skip_bad=skip_bad, running=Running(backbone=backbone, quiet=quiet))


def wanted_by(bundle: Bundle) -> Wanted:
    """What a model labels, and the size of the grey pictures that it learned from as one array."""
    return Wanted(bundle.backbone.modality, picture_size(bundle.facts), fields_of_name(bundle.backbone.name))


def unlabelled(bundle: Bundle, inputs: Any) -> Examples:
    """Any kind of Python value as rows that the model can label; `Model.predict` describes the kinds."""
    wanted = wanted_by(bundle)
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if isinstance(inputs, list | tuple) and all(isinstance(i, str | Path) for i in inputs):
        return _named(wanted, inputs)
    if not (isinstance(inputs, Examples | Mapping) or is_data_frame(inputs) or is_dataset(inputs) or is_torch_dataset(inputs)):
        inputs = (inputs, None)
    return read_asked(inputs, Asked(labelled=False, wanted=wanted))


def _named(wanted: Wanted, inputs: Sequence[str | Path]) -> Examples:
    """Strings are texts for a text model and paths for any other; the order is kept, whichever they are."""
    if wanted.modality != "text" or not any(isinstance(i, str) for i in inputs):
        return read_inputs([Path(i) for i in inputs], (), wanted)
    if paths := [i for i in inputs if isinstance(i, Path)]:
        raise InputError(f"texts and paths are mixed, for example {str(paths[0])!r}: give the texts, or the paths, alone.")
    return read_inputs([], [str(i) for i in inputs], wanted)
