"""What `import fewtune` shows, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fewtune


def test_importing_costs_nothing_until_a_name_is_asked_for() -> None:
    code = "import sys, fewtune; dir(fewtune); print([m for m in ('torch', 'numpy', 'sklearn', 'pandas') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_name_is_there_and_shown() -> None:
    assert dir(fewtune) == sorted(fewtune.__all__)
    for name in fewtune.__all__:
        assert getattr(fewtune, name) is not None
    for name in ("adapt", "compare", "load", "FewShotClassifier", "Method", "Phase", "Adapt", "Examples", "InputError", "Prediction",
                 "Evaluation", "Comparison", "Backbone", "Machine", "OwnSettings", "SourceSettings", "Adapted", "Model", "read_examples",
                 "load_backbone", "recipes"):  # fmt: skip
        assert name in fewtune.__all__


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'adaptt'"):
        fewtune.adaptt  # type: ignore[attr-defined]  # noqa: B018
