"""The laws of backbones."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.data.row_space import RowSpace
from fewtune.testing.law import law

NEAR = 1e-4  # of float32 passes in batches of several sizes


def check_backbone(backbone: Backbone, space: RowSpace) -> None:
    """Run the laws of the axis on a backbone; `space`: a few rows (4 or more) of what it takes.

    Features are [N, D] of its width, finite and float32; rows alone, together and in another order have the same features; padding (row
    -1) gives zeros; its groups hold every parameter once; its digest is the same each time, and another one for other weights. Raises
    AssertionError with a sentence that names the law.
    """
    law(isinstance(backbone, Backbone), backbone, "expected a fewtune.Backbone")
    law(len(space) >= 4, backbone, f"expected 4 rows or more to check it on, found {len(space)}")
    rows, start = np.arange(4), backbone.start()
    with torch.no_grad():
        together = backbone.embed(start, space, rows).cpu()
        alone = torch.cat([backbone.embed(start, space, rows[i : i + 1]).cpu() for i in range(4)])
        turned = backbone.embed(start, space, rows[::-1].copy()).cpu().flip(0)
        padded = backbone.embed(start, space, np.array([0, -1])).cpu()
    width = backbone.width or together.shape[-1]
    law(together.shape == (4, width), backbone, f"features must be [N, {width}], found {list(together.shape)}")
    law(together.dtype == torch.float32 and bool(together.isfinite().all()), backbone, "features must be finite float32 numbers")
    scale = float(together.abs().max()) or 1.0
    law(float((together - alone).abs().max()) <= NEAR * scale, backbone, "a row must have the same features alone and among others")
    law(float((together - turned).abs().max()) <= NEAR * scale, backbone, "the order of rows must be irrelevant")
    law(not padded[1].any(), backbone, "the row -1 must give zeros")
    grouped = [name for _, names in backbone.groups for name in names]
    parameters = {name for name, _ in backbone.network.named_parameters()} & set(start)
    law(sorted(grouped) == sorted(parameters), backbone, "its groups must hold every parameter exactly once")
    law(backbone.digest() == backbone.digest(), backbone, "its digest must be the same each time")
    if parameters:
        name = sorted(parameters)[0]
        changed = backbone.with_weights({name: start[name] + 1})
        law(changed.digest() != backbone.digest(), backbone, "other weights must have another digest")
