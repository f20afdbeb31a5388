"""Method: what is done on source tasks, and the learner that answers test episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.backbones.edits import Edit
from fewtune.learning.phase import Adapt, Learner, Step, heads_of, phases_of
from fewtune.parts.heads.head import Head


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
