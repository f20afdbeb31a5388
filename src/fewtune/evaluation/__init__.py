"""Comparing methods on the same few-shot episodes.

A `Study` comes in: protocols, methods, a row space and a backbone. `run_study` gives `Outcomes`: a row for each method and episode, the
episodes, and what training cost; `run_kept` also keeps them in a run folder. `summarise` turns the rows into means, intervals and tests.
"""

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import Result, load_result
from fewtune.evaluation.run_folder import Keeping, run_kept, save_run
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import Bench, Study
from fewtune.evaluation.summary import Summary, summarise
from fewtune.evaluation.training_settings import Cost, Training

__all__ = [
    "Bench",
    "Cost",
    "Keeping",
    "Outcomes",
    "Protocol",
    "Result",
    "Study",
    "Summary",
    "Training",
    "load_result",
    "run_kept",
    "run_study",
    "save_run",
    "summarise",
]
