"""How many multiplications a row costs, so that networks of equal cost are compared."""

from __future__ import annotations

from dataclasses import replace

from fewtune.parts.sharing.mmoe import Mmoe
from fewtune.parts.sharing.shared_bottom import SharedBottom


def multiplications(head: SharedBottom | Mmoe, inputs: int) -> int:
    """Multiplications to answer one row of `inputs` features for all tasks; activations and softmax are not counted.

    Each entry of a weight matrix is used once: what is shared is computed once for all tasks. A mixture also multiplies each expert's
    output by each task's gate.
    """
    entries = sum(start.numel() for name, start in head.declare(inputs).items() if name.endswith("weight"))
    return entries + (len(head.outputs) * head.experts * head.width if isinstance(head, Mmoe) and head.experts > 1 else 0)


def width_for(head: SharedBottom | Mmoe, inputs: int, most: int) -> int:
    """The greatest width of the hidden layers at which a row costs at most `most` multiplications; 0 where none does."""
    width = 0
    while multiplications(replace(head, width=width + 1), inputs) <= most:
        width += 1
    return width
