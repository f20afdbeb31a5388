"""Sharing: heads for several label columns at once, from nothing shared to everything.

Features [E, Q, D] and the task of each episode come in; the outputs of that task [E, Q, L] go out. `SHARING` lists every such head;
`Sharing` says what they have in common. `learning.laid_out` sets `outputs`, the number of outputs of each task.
"""

from fewtune.parts.sharing.additive import Additive
from fewtune.parts.sharing.cross_stitch import CrossStitch
from fewtune.parts.sharing.film import Film
from fewtune.parts.sharing.gating import Gating
from fewtune.parts.sharing.independent import Independent
from fewtune.parts.sharing.mmoe import Mmoe
from fewtune.parts.sharing.mtan import Mtan
from fewtune.parts.sharing.multiplications import multiplications, width_for
from fewtune.parts.sharing.shared_bottom import SharedBottom
from fewtune.parts.sharing.sharing import Sharing
from fewtune.parts.sharing.task_queries import TaskQueries
from fewtune.parts.sharing.utilisation import Utilisation, utilisation

SHARING = (Additive, CrossStitch, Film, Gating, Independent, Mmoe, Mtan, SharedBottom, TaskQueries)

__all__ = [
    "SHARING",
    "Additive",
    "CrossStitch",
    "Film",
    "Gating",
    "Independent",
    "Mmoe",
    "Mtan",
    "SharedBottom",
    "Sharing",
    "TaskQueries",
    "Utilisation",
    "multiplications",
    "utilisation",
    "width_for",
]
