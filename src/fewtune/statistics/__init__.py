"""Statistics for honest comparisons: arrays of numbers come in; intervals, p-values and fits go out.

It uses NumPy and SciPy only and nothing else of fewtune. Input that cannot be used raises ValueError, which says what was expected and
what was found.
"""

from fewtune.statistics.abstaining import Coverage, abstention_threshold, coverage_curve, least_probability, unlike
from fewtune.statistics.best import adjust_against_best, runs_difference
from fewtune.statistics.by_group import ByGroup, accuracy_by_group
from fewtune.statistics.calibration import UsualTemperature, expected_calibration_error, fit_temperature, softmax
from fewtune.statistics.evidence import Evidence, evidence_of_classes, evidence_of_rows, joined_evidence, soft_correctness
from fewtune.statistics.expected import USUAL_SLOPE, Slope, carried_on, expected_accuracy, learning_slope
from fewtune.statistics.greedy import greedy_weights
from fewtune.statistics.grouping import Grouping, choose_groups
from fewtune.statistics.intervals import (
    Interval,
    bootstrap_interval,
    normal_interval,
    seeds_interval,
    t_interval,
    wilson_interval,
)
from fewtune.statistics.known import Kind
from fewtune.statistics.metric_intervals import metric_difference, metric_interval
from fewtune.statistics.metrics import METRICS, Metric, default_metric
from fewtune.statistics.paired import paired_interval, sign_flip_test, wilcoxon_test
from fewtune.statistics.paired_gain import LEAST, Best, Gain, expected_best, paired_gain
from fewtune.statistics.power_law import FittedPowerLaw, PowerLaw, bootstrap_power_law, fit_power_law
from fewtune.statistics.ranks import average_ranks, friedman_test, nemenyi_difference
from fewtune.statistics.resampled import held_out_difference
from fewtune.statistics.reuse import Reuse, count_reuse, reuse_sentence
from fewtune.statistics.sample_size import episodes_needed
from fewtune.statistics.selection import best_of_candidates
from fewtune.statistics.shared_features import shared_features

__all__ = [
    "LEAST",
    "METRICS",
    "USUAL_SLOPE",
    "Best",
    "ByGroup",
    "Coverage",
    "Evidence",
    "FittedPowerLaw",
    "Gain",
    "Grouping",
    "Interval",
    "Kind",
    "Metric",
    "PowerLaw",
    "Reuse",
    "Slope",
    "UsualTemperature",
    "abstention_threshold",
    "accuracy_by_group",
    "adjust_against_best",
    "average_ranks",
    "best_of_candidates",
    "bootstrap_interval",
    "bootstrap_power_law",
    "carried_on",
    "choose_groups",
    "count_reuse",
    "coverage_curve",
    "default_metric",
    "episodes_needed",
    "evidence_of_classes",
    "evidence_of_rows",
    "expected_accuracy",
    "expected_best",
    "expected_calibration_error",
    "fit_power_law",
    "fit_temperature",
    "friedman_test",
    "greedy_weights",
    "held_out_difference",
    "joined_evidence",
    "learning_slope",
    "least_probability",
    "metric_difference",
    "metric_interval",
    "nemenyi_difference",
    "normal_interval",
    "paired_gain",
    "paired_interval",
    "reuse_sentence",
    "runs_difference",
    "seeds_interval",
    "shared_features",
    "sign_flip_test",
    "soft_correctness",
    "softmax",
    "t_interval",
    "unlike",
    "wilcoxon_test",
    "wilson_interval",
]
