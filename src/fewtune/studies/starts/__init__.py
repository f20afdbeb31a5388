"""What a start is worth: the same finetuning from several starts, as learning curves whose height and speed are read apart."""

from __future__ import annotations

from fewtune.studies.starts.checkpoints import CheckpointCurves, checkpoint_curves
from fewtune.studies.starts.curves import WHOLE, Curve, StartCurves, best_rate, start_curves
from fewtune.studies.starts.finetuning import HEAD, Finetuned, Finetuning, Seen, begun, finetuned
from fewtune.studies.starts.heads import HeadRun, head_study
from fewtune.studies.starts.surgical import NOTHING, Surgery, surgical_study

__all__ = [
    "HEAD",
    "NOTHING",
    "WHOLE",
    "CheckpointCurves",
    "Curve",
    "Finetuned",
    "Finetuning",
    "HeadRun",
    "Seen",
    "StartCurves",
    "Surgery",
    "begun",
    "best_rate",
    "checkpoint_curves",
    "finetuned",
    "head_study",
    "start_curves",
    "surgical_study",
]
