"""Views: how an item is seen before it is prepared. Evaluation always sees it as it is; training may see it augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final


@final
@dataclass(frozen=True, kw_only=True)
class View:
    """A way of seeing items.

    `identity` changes nothing. Augmentations to come draw their parameters as a pure function of (seed, step, role, copy, row), where
    role is support or query and copy tells repeated views of one row in one step apart; so the same row is seen alike whatever the
    batch, the number of workers or a resumed run.
    """

    kind: Literal["identity"] = "identity"


IDENTITY = View()
