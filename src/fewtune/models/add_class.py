"""A new class, or more examples of a class, without training: the head is fitted again on the support and the new rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.class_names import odd_names
from fewtune.data.examples import Examples, Integers
from fewtune.data.same_names import plain_name
from fewtune.errors import InputError
from fewtune.files import entries, foreign, new_folder, read_record, refuse_existing
from fewtune.learners.choice import Choice, choose_learner
from fewtune.learners.labelled import Labelled
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.models.bundle import FILES, REPORT, SELECTION, Bundle
from fewtune.models.card import model_card
from fewtune.models.fitting import fit_head
from fewtune.models.held_answers import held_answers
from fewtune.models.predict import Running, own_features
from fewtune.models.support import Support, names_of, texts_of
from fewtune.recipes.language import read_method
from fewtune.statistics import Interval
from fewtune.words import counted, harmless, option

ONNX = "model.onnx"  # what `fewtune export` writes beside a model


@final
@dataclass(frozen=True, eq=False)
class Added:
    """The larger model, and what changed, in sentences. `choice`: what cross-validation on all its examples found, None where that cannot
    be trusted: the backbone was finetuned on some of their labels."""

    bundle: Bundle
    sentences: tuple[str, ...]
    choice: Choice | None = None


def add_class(
    bundle: Bundle, name: str, examples: Examples, *, backbone: Backbone, more: bool = False, skip_bad: bool = False, quiet: bool = True
) -> Added:
    """The model with the rows of `examples` as a class called `name`; with `more`, as further rows of a class that it has.

    The backbone (`backbone`: the bundle's own) and the temperature stay; heads that read class names get the vector of the new name.
    Copies of rows that the class already has are left out. Raises InputError for a name that exists (or, with `more`, does not exist), for
    rows that are already in another class, and where no row is left. With `skip_bad` such rows and rows that cannot be read are left out.
    """
    support = bundle.support
    if support is None and bundle.facts.get("rows") == 0:
        raise InputError("this model knows the names of its classes and no example: make it again with one more name, or with examples.")
    if support is None:
        raise InputError("this model was saved without the rows it was learned from: make it again with `fewtune adapt`.")
    names, label = class_place(bundle.class_names, name, more)
    examples, left_out = _new_rows(examples, bundle, support, label, skip_bad)
    features, bad = own_features(bundle, examples, running=Running(backbone=backbone, quiet=quiet), skip_bad=skip_bad)
    kept = [row for row in range(len(examples)) if row not in bad]
    left_out += [(examples.row_names[row], reason) for row, reason in sorted(bad.items())]
    if not kept:
        raise InputError(f"no example of {names[label]!r} is left: {left_out[0][0]} ({left_out[0][1]}).")
    whole = _larger(support, examples, kept, features, label)
    method = read_method(bundle.method)
    vectors = vectors_by_prompts(backbone, names, [method]).get(prompts_of(method.head))
    rows: Integers = np.arange(len(whole.labels))
    state, parameters = fit_head(method, whole.features, rows, whole.labels, len(names), vectors, bundle.parameters)
    labelled = Labelled(whole.features, rows, whole.labels, len(names))
    choice = _cross_validated(bundle, method, labelled, vectors)
    if choice is not None and choice.answers is not None:
        whole = replace(whole, held=held_answers(choice.answers, whole.labels, bundle.temperature))
    facts = _facts(bundle, names, label, whole.labels, len(kept), choice)
    sentences = _sentences(bundle, names, label, len(kept), len(rows), left_out, choice)
    sentences += tuple(s for s in odd_names(names) if s not in odd_names(bundle.class_names))
    made = replace(bundle, class_names=names, state=state, parameters=parameters, support=whole, facts=facts)
    return Added(replace(made, card=model_card(made, facts, sentences)), sentences, choice)


def _larger(support: Support, examples: Examples, kept: Sequence[int], features: Tensor, label: int) -> Support:
    """The support with new rows of one class. Held-out answers to the old rows were given by a model of fewer examples and are dropped, and
    so are features apart, which the new rows do not have."""
    old, new = list(support.names), list(names_of(examples, kept))
    texts = texts_of(examples, kept)
    return Support(
        features=torch.cat([support.features, features[list(kept)].cpu()]),
        labels=np.concatenate([support.labels, np.full(len(kept), label, dtype=np.int64)]),
        digests=(*support.digests, *(examples.row_digests[row] for row in kept)),
        names=(*old, *new) if old else (),
        texts=(*support.texts, *texts) if support.texts is not None and texts is not None else None,
    )


def _cross_validated(bundle: Bundle, method: Method, labelled: Labelled, vectors: Tensor | None) -> Choice | None:
    """The model's own learner on held-out folds of all its examples; None where the features have seen labels of held-out examples."""
    if bundle.moved is not None and bundle.facts.get("labels_moved") is not False:
        return None
    seed = bundle.facts.get("seed", 0)
    name = str(bundle.facts.get("learner", "learner"))
    return choose_learner({name: method}, labelled, vectors=lambda _: vectors, fallback=name, seed=seed if isinstance(seed, int) else 0)


def put_back(bundle: Bundle, run: Path, report: Callable[[Path], None] | None = None) -> tuple[str, ...]:
    """As `put_over`, for a model of one column of classes."""
    return put_over(bundle.write, bundle.read, run, report)


def put_over(write: Callable[[Path], None], read: str, run: Path, report: Callable[[Path], None] | None = None) -> tuple[str, ...]:
    """Write a model over the one it was made from, whole or not at all; returns sentences about the other files of the folder.

    `write`: writes the model's files into a folder; `read`: the digest of the record that it was made from.

    `report`: writes the page of the new model to a path; the old page stays where there is none. Files that fewtune did not write stay. An
    exported model is removed, because it is the old one. Raises InputError where the model card was edited.
    """
    said = []
    refuse_existing(run, overwrite=True, writes=FILES)
    if read and read_record(run)[0].get("digest") != read:
        raise InputError(f"another program changed {run} in the meantime: run the same command again.")
    before = set(entries(run)) - set(foreign(run))
    with new_folder(run, overwrite=True) as folder:
        for name in before & {REPORT, SELECTION}:
            shutil.copy2(run / name, folder / name)
        write(folder)
        if report is not None:
            report(folder / REPORT)
    if ONNX in before:
        said.append(f"{run / ONNX} was the old model and is removed: export it again.")
    if report is None and (run / REPORT).exists():
        said.append(f"{run / REPORT} still describes the old model.")
    return tuple(said)


def class_place(names: Sequence[str], given: str, more: bool) -> tuple[tuple[str, ...], int]:
    """The class names afterwards, and which of them the rows belong to."""
    name = given.strip() if isinstance(given, str) else ""
    if not name or not all(map(harmless, name)):
        raise InputError(f"expected the name of a class, as text without control characters, found {given!r}.")
    known = [plain_name(n) for n in names]
    found = known.index(plain_name(name)) if plain_name(name) in known else None
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if found is None and more:
        raise InputError(
            f"this model has no class {name!r} to add more examples to: its classes are {shown}; leave out {option('--more')} for a new "
            "class."
        )
    if found is not None and not more:
        raise InputError(
            f"this model has a class {names[found]!r} already: give another name, or add examples to it with {option('--more')}."
        )
    return (tuple(names), found) if found is not None else ((*names, name), len(names))


def _new_rows(examples: Examples, bundle: Bundle, support: Support, label: int, skip_bad: bool) -> tuple[Examples, list[tuple[str, str]]]:
    """Rows whose content is not in the support, each once. Embeddings are all kept, as in `adapt`."""
    if examples.modality == "vector":
        return examples, []
    known = dict(zip(support.digests, support.labels.tolist(), strict=True))
    kept, left_out, first = [], [], dict[bytes, str]()
    for row, digest in enumerate(examples.row_digests):
        named = examples.row_names[row]
        if known.get(digest, label) != label:
            other = bundle.class_names[known[digest]]
            if not skip_bad:
                raise InputError(
                    f"{named} is already an example of {other!r}: remove it, or leave such rows out with {option('--skip-bad')}."
                )
            left_out.append((named, f"already an example of {other}"))
        elif digest in known:
            left_out.append((named, "the class already has it"))
        elif digest in first:
            left_out.append((named, f"a copy of {first[digest]}"))
        else:
            first[digest] = named
            kept.append(row)
    if not kept:
        raise InputError(f"no new example is left of {counted(len(examples), 'row')}: {left_out[0][0]} is left out ({left_out[0][1]}).")
    return examples.take(kept), left_out


def _facts(bundle: Bundle, names: Sequence[str], label: int, labels: Integers, new: int, choice: Choice | None) -> dict[str, Any]:
    """The facts of the larger model. The accuracy measured before no longer holds and is kept under `expected_before`."""
    expected = None if choice is None or choice.expected is None else choice.expected
    recall = dict.fromkeys(names) if choice is None else {n: known(r) for n, r in zip(names, choice.recall.tolist(), strict=True)}
    shots = np.bincount(labels, minlength=len(names)).tolist()
    before: Mapping[str, Any] = bundle.facts
    return {
        **before,
        "rows": len(labels),
        "shots": dict(zip(names, shots, strict=True)),
        "expected_accuracy": None if expected is None else plain_interval(expected),
        "measured_accuracy": None,
        "recall": recall,
        "expected_before": before.get("expected_accuracy") or before.get("expected_before"),
        "added": [*before.get("added", []), {"class": names[label], "rows": new, "new": len(names) > len(bundle.class_names)}],
    }


def _sentences(
    bundle: Bundle, names: Sequence[str], label: int, new: int, rows: int, left_out: Sequence[tuple[str, str]], choice: Choice | None
) -> tuple[str, ...]:
    grown = len(names) > len(bundle.class_names)
    what = f"Class {names[label]} was added from" if grown else f"To class {names[label]} were added"
    said = [
        f"{what} {counted(new, 'example')}; the head was fitted again on {counted(rows, 'row')} of {len(names)} classes, without training."
    ]
    if left_out:
        name, why = left_out[0]
        said.append(f"{counted(len(left_out), 'row', ('was', 'were'))} left out, for example {name} ({why.rstrip('.')}).")
    expected = bundle.facts.get("expected_accuracy")
    past = f" (with the {len(bundle.class_names)} classes before it was {100 * expected['mean']:.1f}%)" if expected and grown else ""
    larger = "for the larger set of classes" if grown else "with the new examples"
    if choice is not None and choice.expected is not None:
        found = choice.expected
        said.append(
            f"The accuracy to expect {larger} is {100 * found.mean:.1f}% ({100 * found.level:.0f}% interval {100 * found.low:.1f} to "
            f"{100 * found.high:.1f}){past}: by cross-validation on the {rows:,} examples that are kept with the model."
        )
        return tuple(said)
    said.append(f"The accuracy to expect {larger} is not known{past}: `fewtune evaluate` measures it on labelled data.")
    return tuple(said)


def known(value: float) -> float | None:
    """A number, None for NaN."""
    return None if np.isnan(value) else float(value)


def plain_interval(interval: Interval) -> dict[str, float]:
    """An interval as JSON holds it."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "level": interval.level}
