"""The model card, Markdown beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewtune.models.finetuned_weights import Members
from fewtune.words import counted

if TYPE_CHECKING:
    from fewtune.models.bundle import Bundle


def model_card(bundle: Bundle, facts: Mapping[str, Any], sentences: Sequence[str], below: Sequence[str] = ()) -> str:
    """The model card (Markdown), after Mitchell et al., "Model Cards for Model Reporting", 2019. What `facts` do not hold is left out.

    `sentences` stand first, as one paragraph; those `below` are a list under "In detail".

    `facts["sources"]`, where there is one, is a mapping of anything that is to be said of what was finetuned on (its data, the tasks
    chosen, the budget): one line a key.
    """
    recall = {name: value for name, value in facts.get("recall", {}).items() if value is not None}
    shots = facts.get("shots", {})
    rows = "\n".join(
        f"| {cell(name)} | {shots.get(name, '')} | {'' if recall.get(name) is None else f'{100 * recall[name]:.0f}%'} |"
        for name in bundle.class_names
    )
    source = "\n".join(f"- {cell(key)}: {cell(value)}" for key, value in bundle.backbone.source.items())
    calibrated = "on held-out folds" if facts.get("expected_accuracy") or facts.get("expected_before") else "not calibrated"
    return f"""# A fewtune model for {cell(facts.get("data", "unnamed data"))}

{" ".join(cell(s) for s in sentences)}

| class | examples | recall on held-out folds |
|---|---|---|
{rows}
{_in_detail(below)}
## How it was made
- backbone: `{bundle.backbone.name}`, {_what_moved(bundle)} (digest {bundle.backbone.digest})
{source}
- preprocessing: `{bundle.backbone.preparation}`
- learner: `{bundle.method}`
- probabilities: temperature {bundle.temperature:.3g}, {calibrated}; answers below {bundle.threshold:g} abstain
- data: {facts.get("rows", "?")} labelled rows (digest {facts.get("data_digest", "?")}), seed {facts.get("seed", "?")}
- fewtune {facts.get("fewtune", "?")}, torch {facts.get("torch", "?")}
{_sources(facts)}
## Use
In this folder, `fewtune predict . new.jpg more/` gives labels, and `fewtune evaluate . LABELLED_DATA` measures the model. An expected
accuracy holds for new examples drawn like the labelled ones; other cameras, authors or classes are not covered. The backbone's own licence
and biases apply.
"""


def _in_detail(sentences: Sequence[str]) -> str:
    """A list of sentences; nothing without any."""
    return "\n".join(["\n## In detail", *(f"- {cell(sentence)}" for sentence in sentences), ""]) if sentences else ""


def _what_moved(bundle: Bundle) -> str:
    """What finetuning changed in the backbone."""
    moved = bundle.moved
    if moved is None:
        return "unchanged"
    numbers = sum(tensor.numel() for tensor in moved.weights.values())
    if isinstance(moved, Members):
        frozen = sum(part is None for part in moved.parts)
        return (
            f"{len(moved.parts)} versions side by side, {frozen} of them unchanged: {numbers:,} numbers of the others moved, kept in "
            "weights.safetensors"
        )
    if moved.edits == "()":
        return f"finetuned: {counted(len(moved.weights), 'tensor')} of {numbers:,} numbers moved, kept in weights.safetensors"
    return (
        f"finetuned by `{cell(moved.edits)}`: {counted(len(moved.weights), 'tensor')} of {numbers:,} numbers, kept in weights.safetensors"
    )


def _sources(facts: Mapping[str, Any]) -> str:
    """What was finetuned on, a line a key."""
    sources = facts.get("sources")
    if not isinstance(sources, Mapping) or not sources:
        return ""
    lines = [f"- {cell(key)}: {cell(_listed(value))}" for key, value in sources.items() if value]
    return "\n".join(["\n## Other labelled data", *lines, ""])


def _listed(value: object, most: int = 20) -> str:
    """Entries one after another, the first of many; mappings as name and value."""
    if isinstance(value, Mapping):
        value = [f"{name} ({said})" for name, said in value.items()]
    if not isinstance(value, list | tuple):
        return str(value)
    return ", ".join(map(str, value[:most])) + (f" and {len(value) - most} more" if len(value) > most else "")


def cell(value: object) -> str:
    """User text in Markdown: no pipes, no line breaks, no HTML."""
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
