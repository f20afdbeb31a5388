"""The study of Wang et al., "Model-agnostic multitask fine-tuning for few-shot vision-language transfer" (2022), without its faults.

`MamfSettings` says what is asked, `run_grid` runs it, `summarise` turns its rows into claims. Every method answers by class texts and by
the model's own projections, looks at the same number of rows, is swept alike, and starts each test task from the weights of training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.studies.mamf.run import Ran, run_grid
    from fewtune.studies.mamf.settings import MamfSettings
    from fewtune.studies.mamf.summary import Summary, summarise

_WHERE = {"MamfSettings": "settings", "Ran": "run", "Summary": "summary", "run_grid": "run", "summarise": "summary"}

__all__ = ["MamfSettings", "Ran", "Summary", "run_grid", "summarise"]

__getattr__, __dir__ = opened(__name__, _WHERE)
