"""Settings of finetuning on own labels, chosen on classes of other data: once, and without a look at the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.sources.held_out_classes import HeldOutClasses

EPISODES = 4  # of all sources together: each setting is finetuned once on each of them


def best_on_classes(methods: Sequence[Method], backbone: Backbone, classes: HeldOutClasses, sources: Sequence[str]) -> int:
    """The place of the method that answers validation classes of some `sources` best, each of which has some.

    An episode has ways and shots like the target's. Each method finetunes on its labelled rows and answers its others. The highest mean
    accuracy wins; ties go to the lower log-loss, then to the first one.
    """
    batches = classes.episodes("validation", sources, -(-EPISODES // len(sources)))
    worth = []
    for place, method in enumerate(methods):
        ground = Ground(backbone, classes.source_rows.space, method.edits)
        scores = score_each(ground, method.learner, ground.start(), batches, at=key(classes.seed, "own settings"))
        accuracy, loss = float(np.mean([s.accuracy.mean() for s in scores])), float(np.mean([s.loss.mean() for s in scores]))
        worth.append((accuracy, -loss if np.isfinite(loss) else -np.inf, -place))
    return -max(worth)[2]
