"""Studies: published experiments that run from end to end by one call, with intervals, figures and a folder of rows.

`mamf` is the study of multitask finetuning (Wang et al. 2022). `latent.race` and `sinusoid.race` compare ERM and MAML at growing budgets.
`regression.compare_regression` compares methods on few-shot tasks of numbers. `starts` finetunes several starts alike and reads height and
speed of their curves. `solutions` measures the curve of WiSE-FT over alpha, soups of weights, and ensembles of answers.
`verification.verify` measures accuracy against the number of tasks, of rows and of shots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.studies import latent, mamf, regression, sinusoid, solutions, starts, verification

_WHERE: dict[str, str] = {}
_ROOMS = ("latent", "mamf", "regression", "sinusoid", "solutions", "starts", "verification")

__all__ = ["latent", "mamf", "regression", "sinusoid", "solutions", "starts", "verification"]

__getattr__, __dir__ = opened(__name__, _WHERE, _ROOMS)
