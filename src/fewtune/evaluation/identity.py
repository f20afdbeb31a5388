"""All that trained weights depend on: what training runs are filed under, so that several studies share them."""

from __future__ import annotations

from fewtune.evaluation.facts import backbone_fact
from fewtune.evaluation.study import Study
from fewtune.evaluation.task_choice import chooses, chooses_again, reserved_facts
from fewtune.learning.method import Method
from fewtune.learning.phase import Greedy, Step, phases_of
from fewtune.parts.keep import Best
from fewtune.spec import digest, text
from fewtune.version import __version__


def trained_identity(study: Study, phases: tuple[Step, ...], method: Method, seed: int) -> str:
    """32 hexadecimal digits for all that the weights depend on after `phases`, those of the method as source and budget allow them.

    The target and its episodes are not part of it, unless validation episodes choose the weights.
    """
    moved = [f"seed {seed}", f"edits {text(method.edits)}", f"phases {text(phases)}"]
    facts = [f"fewtune {__version__}", backbone_fact(study.backbone), *moved]
    if phases:
        facts += [*study.learned_from(), f"within {study.training.within}"]
    if chooses(method):  # phases name the chosen tasks; how many were drawn says which ones these are
        facts.append(f"of {study.training.candidates} candidates a source")
        if chooses_again(phases) and study.reserved is not None:  # by rows of the target, once some phases are done
            facts += reserved_facts(study.target, study.reserved)
    if any(isinstance(p.keep, Best) for p in phases_of(phases)) or _soups(phases):
        facts += judged_by(study, method)
    return digest("\n".join(facts))


def judged_by(study: Study, method: Method) -> list[str]:
    """What the mean on validation episodes depends on beside the weights."""
    training = study.training
    few = f"{training.validation} validation episodes, {training.adapted} where weights are moved on each"
    return [f"judged by {text(method.learner)}", few, *map(text, study.protocols), *study.metric_facts]


def _soups(steps: tuple[Step, ...]) -> bool:
    """Whether a greedy soup is among the steps, whose end depends on the validation episodes."""
    return any(isinstance(s, Greedy) or (hasattr(s, "members") and any(map(_soups, s.members))) for s in steps)
