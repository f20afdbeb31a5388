"""What is transferred, and how far: analyses of weights, features and results as functions.

Two solutions: `interpolation`, `barrier` and `error_agreement`. Curves: `convergence`. Modules: `rewind`, `criticality`, `valley`. Depth:
`depth_probe`, `margins`. The law of the downstream error: `hull`, `downstream_law`.
Theory: `variance_ratio`, `diversity`, the bounds, `task_entropy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.transfer.agreement import Agreement, error_agreement
    from fewtune.transfer.depth import Probe, depth_probe, group_modules, layer_features
    from fewtune.transfer.entropies import TaskEntropy, differential_entropy, task_entropy
    from fewtune.transfer.landscape import Barrier, barrier, interpolation, mixed
    from fewtune.transfer.law import DownstreamLaw, downstream_law, hull, mixture
    from fewtune.transfer.margin import layer_margins, layer_norms, margins
    from fewtune.transfer.margin_by_group import group_margins
    from fewtune.transfer.modules import Criticality, ModuleCriticality, chosen_groups, criticality, rewind, rewound, with_buffers
    from fewtune.transfer.normalisation import reestimated
    from fewtune.transfer.points import POINTS
    from fewtune.transfer.scale_studies import Sensitivity, overlay, rescaled, residual_spread, sensitivity, shot_correlations
    from fewtune.transfer.speed import Convergence, convergence, steps_to
    from fewtune.transfer.theory import (
        Diversity,
        average_difference,
        collision_probability,
        diversity,
        finetuning_bound,
        finetuning_gain,
        pair_losses,
        pretraining_bound,
        supervised_loss,
        tasks_and_rows,
        variance_ratio,
        worst_difference,
    )
    from fewtune.transfer.valleys import RankTrend, Valley, goes_with_error, grows_with_depth, rank_trend, valley

# the file of each name; imported when the name is first used
_WHERE = {
    "Agreement": "agreement",
    "Barrier": "landscape",
    "Convergence": "speed",
    "Criticality": "modules",
    "Diversity": "theory",
    "DownstreamLaw": "law",
    "ModuleCriticality": "modules",
    "POINTS": "points",
    "Probe": "depth",
    "RankTrend": "valleys",
    "Sensitivity": "scale_studies",
    "Valley": "valleys",
    "TaskEntropy": "entropies",
    "average_difference": "theory",
    "barrier": "landscape",
    "chosen_groups": "modules",
    "collision_probability": "theory",
    "convergence": "speed",
    "criticality": "modules",
    "depth_probe": "depth",
    "differential_entropy": "entropies",
    "diversity": "theory",
    "downstream_law": "law",
    "error_agreement": "agreement",
    "finetuning_bound": "theory",
    "finetuning_gain": "theory",
    "goes_with_error": "valleys",
    "group_margins": "margin_by_group",
    "group_modules": "depth",
    "grows_with_depth": "valleys",
    "hull": "law",
    "interpolation": "landscape",
    "layer_features": "depth",
    "layer_margins": "margin",
    "layer_norms": "margin",
    "margins": "margin",
    "mixed": "landscape",
    "mixture": "law",
    "overlay": "scale_studies",
    "pair_losses": "theory",
    "pretraining_bound": "theory",
    "rank_trend": "valleys",
    "reestimated": "normalisation",
    "rescaled": "scale_studies",
    "residual_spread": "scale_studies",
    "rewind": "modules",
    "rewound": "modules",
    "sensitivity": "scale_studies",
    "shot_correlations": "scale_studies",
    "steps_to": "speed",
    "supervised_loss": "theory",
    "task_entropy": "entropies",
    "tasks_and_rows": "theory",
    "valley": "valleys",
    "variance_ratio": "theory",
    "with_buffers": "modules",
    "worst_difference": "theory",
}

__all__ = [
    "POINTS",
    "Agreement",
    "Barrier",
    "Convergence",
    "Criticality",
    "Diversity",
    "DownstreamLaw",
    "ModuleCriticality",
    "Probe",
    "RankTrend",
    "Sensitivity",
    "TaskEntropy",
    "Valley",
    "average_difference",
    "barrier",
    "chosen_groups",
    "collision_probability",
    "convergence",
    "criticality",
    "depth_probe",
    "differential_entropy",
    "diversity",
    "downstream_law",
    "error_agreement",
    "finetuning_bound",
    "finetuning_gain",
    "goes_with_error",
    "group_margins",
    "group_modules",
    "grows_with_depth",
    "hull",
    "interpolation",
    "layer_features",
    "layer_margins",
    "layer_norms",
    "margins",
    "mixed",
    "mixture",
    "overlay",
    "pair_losses",
    "pretraining_bound",
    "rank_trend",
    "reestimated",
    "rescaled",
    "residual_spread",
    "rewind",
    "rewound",
    "sensitivity",
    "shot_correlations",
    "steps_to",
    "supervised_loss",
    "task_entropy",
    "tasks_and_rows",
    "valley",
    "variance_ratio",
    "with_buffers",
    "worst_difference",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
