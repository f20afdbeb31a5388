"""Method: what is done on source tasks, and the learner that answers test episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.backbones.edits import Edit
from fewtune.learning.phase import Adapt, Learner, Phase, Step, heads_of, phases_of
from fewtune.parts.heads.head import Head
from fewtune.parts.plan import moves_backbone


@final
@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: `edits` of the backbone, source `phases` that train its weights, and the `learner` that answers test episodes.

    A learner is a `Head`, which reads features, or an `Adapt`, which trains on each episode's support first. Results are filed under the
    text of a method (`fewtune.spec.text`), which spells out every default.

    >>> Method(learner=Ridge(penalty=10.0)) == ridge(penalty=10.0)
    True
    >>> Method(learner=Ridge(penalty=10.0)).frozen, multitask().frozen
    (True, False)
    """

    edits: tuple[Edit, ...] = ()
    phases: tuple[Step, ...] = ()
    learner: Learner

    @property
    def head(self) -> Head:
        """The head that gives the final answer."""
        return heads_of(self.learner)[0]

    @property
    def heads(self) -> list[Head]:
        """Every head, those of source phases too."""
        return [head for learner in (self.learner, *(phase.learner for phase in phases_of(self.phases))) for head in heads_of(learner)]

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is, so that all frozen methods share one table of features."""
        return not self.edits and not self.phases and not isinstance(self.learner, Adapt)

    @property
    def moves_backbone(self) -> bool:
        """Whether a plan moves weights of the backbone, or edits change it; a method that trains its head alone does not.

        >>> black_box().moves_backbone, black_box(backbone_lr=1e-4).moves_backbone, maml().moves_backbone
        (False, True, True)
        """
        return bool(self.edits) or any(moves_backbone(phase.plan) for phase in _all_phases(self))


def _all_phases(method: Method) -> list[Phase]:
    """The phases of training and those on each support set."""
    source = phases_of(method.phases)
    learners = [method.learner, *(phase.learner for phase in source)]
    return [*source, *(phase for one in learners if isinstance(one, Adapt) for phase in phases_of(one.phases))]
