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
    """A method is an expression: `edits` of the backbone, source `phases` that move its weights, and the `learner` of test episodes.

    A `Head` is a learner that reads features; `Adapt` moves weights on each episode's support first. The text of a method, every
    default spelled out, is what results are filed under.
    """

    edits: tuple[Edit, ...] = ()
    phases: tuple[Step, ...] = ()
    learner: Learner

    @property
    def head(self) -> Head:
        """The head that answers in the end."""
        return heads_of(self.learner)[0]

    @property
    def heads(self) -> list[Head]:
        """Every head, of source phases too."""
        return [head for learner in (self.learner, *(phase.learner for phase in phases_of(self.phases))) for head in heads_of(learner)]

    @property
    def frozen(self) -> bool:
        """Whether nothing of the backbone is touched, so that features are the same for every method like it."""
        return not self.edits and not self.phases and not isinstance(self.learner, Adapt)
