"""The main job from Python: `adapt(...)` makes a model, `load(...)` opens a saved one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fewtune.adaptation.adapt import Adapted, adapt_frozen
from fewtune.adaptation.bundle import Bundle, load_bundle
from fewtune.adaptation.predict import Prediction, predict_examples, predict_inputs
from fewtune.backbones.defaults import default_backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples
from fewtune.data.read import read_examples
from fewtune.machine import Machine
from fewtune.recipes.language import read_method


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A model that labels new inputs. `weights`: where the backbone's weights are, if they moved since it was saved."""

    bundle: Bundle
    weights: Path | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    def predict(
        self, inputs: Examples | Sequence[str | Path] | str | Path | Any, *, threshold: float | None = None, quiet: bool = True
    ) -> list[Prediction]:
        """Labels for paths of files, folders and tables, for Examples, or for an array of embeddings or images; in order.

        For a text model, strings are the texts themselves and `Path` objects are files.
        """
        if isinstance(inputs, str | Path):
            inputs = [inputs]
        if isinstance(inputs, Examples):
            return predict_examples(self.bundle, inputs, threshold=threshold, weights=self.weights, quiet=quiet)
        if isinstance(inputs, list | tuple) and all(isinstance(i, str | Path) for i in inputs):
            as_text = self.bundle.backbone.modality == "text"
            texts = [i for i in inputs if as_text and isinstance(i, str)]
            paths = [Path(i) for i in inputs if not (as_text and isinstance(i, str))]
            return predict_inputs(self.bundle, paths, texts=texts, threshold=threshold, weights=self.weights, quiet=quiet)
        made = read_examples((inputs, None), labelled=False)
        return predict_examples(self.bundle, made, threshold=threshold, weights=self.weights, quiet=quiet)


def load(run: Path | str, *, weights: Path | str | None = None) -> Model:
    """Open a model that `adapt` saved. Raises InputError where it is missing, newer or changed."""
    return Model(load_bundle(Path(run)), None if weights is None else Path(weights))


def adapt(
    target: Examples | Path | str | Any,
    *,
    backbone: str | None = None,
    weights: Path | str | None = None,
    method: str | None = None,
    machine: Machine | None = None,
    cache: Path | str | None = None,
    skip_bad: bool = False,
    threshold: float = 0.0,
    seed: int = 0,
    folds: int = 5,
    quiet: bool = True,
) -> Adapted:
    """Make the best classifier from a few labelled examples: `target` is anything that `read_examples` reads.

    `method`: one learner instead of the best of all. Raises InputError (a ValueError) for data it cannot learn from.
    """
    examples = target if isinstance(target, Examples) else read_examples(target)
    where = None if weights is None else Path(weights)
    made = load_backbone(backbone or default_backbone(examples.modality), weights=where, machine=machine or Machine())
    return adapt_frozen(
        examples,
        made,
        cache=None if cache is None else Path(cache),
        methods={method: read_method(method)} if method else None,
        skip_bad=skip_bad,
        threshold=threshold,
        seed=seed,
        folds=folds,
        weights=where,
        quiet=quiet,
    )


__all__ = ["Adapted", "Model", "adapt", "load"]
