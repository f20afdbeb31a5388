"""From an adapted model to the findings that its page shows."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from fewtune.adaptation.outcome import Outcome
from fewtune.learners.choice import Choice
from fewtune.learners.doubts import Doubt as Doubtful
from fewtune.learners.doubts import likely_mislabelled, most_uncertain
from fewtune.learners.folds import Splits
from fewtune.learners.target import Target
from fewtune.models.bundle import Bundle
from fewtune.recipes.default_learners import display_name
from fewtune.report.collect_sources import curves_of, leaks_of, selection_of, shown_row
from fewtune.report.findings import Confused, Confusion, Doubt, Example, Findings, Maps, MethodRow
from fewtune.report.maps import map_2d, map_rows, maps_2d, way_of
from fewtune.sides.route import FROZEN
from fewtune.statistics import Coverage

WORST_CELLS, CELL_EXAMPLES = 5, 4
DOUBTFUL = 12


def findings_of(outcome: Outcome) -> Findings:
    """All that the page says of a model."""
    choice, target, used = outcome.choice, outcome.target, outcome.sources
    return Findings(
        verdict=outcome.verdict,
        details=outcome.details,
        kept="finetuned" if outcome.finetuned else "frozen",
        modality=target.examples.modality,
        title=f"A model for {target.examples.name}",
        methods=_methods(outcome),
        guard=outcome.finetuning.guard,
        decision=outcome.finetuning.why,
        selection=None if used is None else selection_of(used, target),
        curves=() if used is None else curves_of(used),
        confusion=None if choice.answers is None else confusion_in(choice, target),
        uncertain=doubts_in(choice, target, most_uncertain),
        mislabelled=None if choice.answers is None else doubts_in(choice, target, likely_mislabelled),
        maps=_maps(outcome),
        forecast=outcome.forecast,
        coverage=coverage_of(outcome.bundle),
        threshold=outcome.bundle.threshold,
        leaks=None if used is None else leaks_of(used, target),
        stages=outcome.stages,
        budget=_budget(outcome),
        environment=_environment(outcome),
        skipped=target.left_out + target.unmeasured,
        commands=("fewtune predict . NEW_FILES_OR_FOLDERS", "fewtune evaluate . LABELLED_DATA"),
    )


def coverage_of(bundle: Bundle) -> Coverage | None:
    """Accuracy on the surest held-out answers; None where nothing was held out."""
    support = bundle.support
    return None if support is None or support.held is None else support.held.coverage()


def _methods(outcome: Outcome) -> tuple[MethodRow, ...]:
    """The learners on frozen features, and the learners on finetuned features if the saved model uses those."""
    sides: list[tuple[Choice, bool]] = [(outcome.frozen, False)]
    if outcome.choice is not outcome.frozen:
        sides.append((outcome.choice, True))
    rows = []
    for choice, finetuned in sides:
        for candidate in choice.candidates:
            if math.isnan(candidate.accuracy):
                continue
            rows.append(
                MethodRow(
                    name=display_name(candidate.name),
                    kind="finetuned" if finetuned and candidate.name != FROZEN else "frozen",
                    accuracy=candidate.accuracy,
                    interval=candidate.interval,
                    difference=candidate.difference if choice is outcome.choice else None,  # else to another than the chosen one
                    p=None if math.isnan(candidate.p) or choice is not outcome.choice else candidate.p,
                    chosen=choice is outcome.choice and candidate.name == choice.name,
                    folds=_folds(choice.splits, anew=choice.splits is outcome.finetuning.splits),
                )
            )
    compared = outcome.finetuning.compared
    if compared is not None and not outcome.finetuned and outcome.finetuning.splits is not None:  # kept sides are among the rows above
        folds = _folds(outcome.finetuning.splits, anew=True)
        for name, held in {FROZEN: compared.held[FROZEN], **compared.rivals}.items():
            kind: Literal["frozen", "finetuned"] = "frozen" if name == FROZEN else "finetuned"
            rows.append(MethodRow(name=name, kind=kind, accuracy=float(np.nanmean(held.correct)), folds=folds))
    return tuple(rows)


def _folds(splits: Splits, *, anew: bool) -> str:
    """Which folds were answered, in words. `anew`: finetuning was done again for every fold."""
    drawn = int(splits.repeat.max(initial=0)) + 1
    times = {1: "", 2: ", drawn twice"}.get(drawn, f", drawn {drawn} times")
    return f"{splits.folds} folds of your labelled examples{times}" + ", with all finetuning done anew for each" * anew


def confusion_in(choice: Choice, target: Target) -> Confusion:
    """The held-out answers, with some of the rows behind the worst cells."""
    names, answers = target.class_names, choice.answers
    assert answers is not None
    wrong = choice.confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = [divmod(int(cell), len(names)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:WORST_CELLS] if wrong.flat[cell] > 0]
    labels = target.labels[target.support]
    predicted = answers.logits.argmax(-1).cpu().numpy()
    found = []
    for true, taken in worst:
        items = np.unique(answers.item[(labels[answers.item] == true) & (predicted == taken)])[:CELL_EXAMPLES]
        rows = target.support[items].tolist()
        examples = tuple(Example(name=target.examples.row_names[r], shown=shown_row(target.examples, r)) for r in rows)
        found.append(Confused(true=true, predicted=taken, examples=examples))
    return Confusion(counts=choice.confusion, class_names=names, examples=tuple(found))


def doubts_in(choice: Choice, target: Target, which: Callable[..., tuple[Doubtful, ...]]) -> tuple[Doubt, ...]:
    """Rows to look at again, as the page shows them."""
    if choice.answers is None:
        return ()
    found = which(choice.answers, target.support, target.labels[target.support], temperature=choice.temperature, most=DOUBTFUL)
    names, examples = target.class_names, target.examples
    return tuple(
        Doubt(
            name=examples.row_names[doubt.row],
            given=names[doubt.given],
            answered=names[doubt.answered],
            probability=doubt.probability,
            shown=shown_row(examples, doubt.row),
        )
        for doubt in found
    )


def _maps(outcome: Outcome) -> Maps | None:
    """Maps of the target's rows by the unchanged backbone and, if there is one, by the finetuned backbone, with some source rows around
    them."""
    target, used = outcome.target, outcome.sources
    after = outcome.features if outcome.finetuned else None if used is None or used.after is None else used.after.features
    tried = after is not None and not outcome.finetuned
    rows = np.sort(target.support if tried else np.concatenate([target.support, target.test]))
    rows = rows[map_rows(len(rows))]
    if len(rows) < 3:
        return None
    labels, before = target.labels[rows], target.features[torch.from_numpy(rows)].float().numpy()
    if after is None:
        return Maps(before=map_2d(before), labels=labels, names=target.class_names, method=way_of(len(rows)))
    first, second = maps_2d(before, after[torch.from_numpy(rows)].float().numpy())
    return Maps(before=first, after=second, labels=labels, names=target.class_names, method=way_of(len(rows)))


def _budget(outcome: Outcome) -> str:
    if outcome.finetuning.compared is None and outcome.sources is None:
        return ""
    minutes = outcome.clock.minutes
    allowed = "No limit of time" if math.isinf(minutes) else f"A budget of {minutes:g} minutes"
    spent = sum(s.seconds for s in outcome.stages)
    return f"{allowed}; {spent / 60:.1f} minutes were spent."


def _environment(outcome: Outcome) -> dict[str, str]:
    from fewtune.version import __version__

    backbone = outcome.backbone
    return {
        "fewtune": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "backbone": outcome.bundle.backbone.name,
        "preprocessing": backbone.preparation.text,
        "learner": outcome.bundle.method,
        "device": f"{backbone.machine.device}, {backbone.machine.dtype}",
        "data": f"{outcome.target.examples.name}, digest {outcome.target.digest}",
        "seed": str(outcome.bundle.facts["seed"]),
    }
