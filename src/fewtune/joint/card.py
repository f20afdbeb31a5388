"""The model card of a model of several label columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewtune.joint.words import between, shown
from fewtune.models.card import cell
from fewtune.models.joint.model import JointBundle, TaskModel


def joint_card(bundle: JointBundle, facts: Mapping[str, Any], sentences: Sequence[str]) -> str:
    """The card (Markdown), after Mitchell et al., "Model Cards for Model Reporting", 2019."""
    rows = "\n".join(_row(task) for task in bundle.tasks)
    said = "\n".join(f"- {cell(sentence)}" for sentence in sentences)
    backbone = bundle.backbone
    embeds = "none: it reads numbers alone" if backbone is None else f"`{backbone.name}` (digest {backbone.digest})"
    numbers = ", ".join(cell(name) for name in bundle.numbers) or "none"
    return f"""# A fewtune model for {cell(str(facts.get("data", "unnamed data")))}

{said}

| column | kind | metric | on held-out rows (95%) | by guessing | rows | answered by |
|---|---|---|---|---|---|---|
{rows}

## How it was made
- backbone: {embeds}
- columns of numbers among its inputs: {numbers}
- data: {facts.get("rows", "?")} labelled rows (digest {facts.get("data_digest", "?")}), seed {facts.get("seed", "?")}

## Use
In this folder, `fewtune predict . new.csv` answers every column, and `fewtune evaluate . LABELLED.csv` measures the model.
What is expected holds for new rows like the labelled ones. The backbone's own licence and biases apply.
"""


def _row(task: TaskModel) -> str:
    expected = "" if task.expected is None else f"{shown(task.metric, task.expected.mean)} ({between(task.metric, task.expected)})"
    return (
        f"| {cell(task.name)} | {task.kind} | {task.metric} | {expected} | {shown(task.metric, task.guessing)} | {task.rows} | {task.way} |"
    )
