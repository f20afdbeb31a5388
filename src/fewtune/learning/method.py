"""Method: what is done before the test episode (nothing yet moves the backbone) and the learner that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.parts.heads.head import Head


@final
@dataclass(frozen=True, kw_only=True)
class Method:
    """A method is an expression: a learner that answers episodes. A `Head` is a learner that reads frozen features.

    The text of a method, every default spelled out, is what results are filed under.
    """

    learner: Head
