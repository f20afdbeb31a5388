"""`fewtune fetch NAME --to FOLDER`."""

from __future__ import annotations

import os
from pathlib import Path


def fetch(name: str, /, *, to: Path, weights: Path | None = None) -> None:
    """Put a foundation model into a folder, to carry it to a machine without a network.

    The model is read back and compared before the folder appears.

    Parameters
    ----------
    name: str
        The backbone: timm:NAME, open_clip:NAME/PRETRAINED or hf:NAME. `fewtune backbones` lists some.
    to: Path
        The new folder. It must not exist yet.
    weights: Path
        The weights of the backbone, if they are a local file or folder.
    """
    from fewtune.backbones.providers.check import check_name
    from fewtune.cli.say import note, tell
    from fewtune.errors import InputError

    check_name(name, weights)
    if name.partition(",")[0].partition(":")[0] not in ("timm", "open_clip", "hf"):
        raise InputError(f"{name} has nothing to fetch: expected timm:NAME, open_clip:NAME/PRETRAINED or hf:NAME.")
    if os.path.lexists(to):
        raise InputError(f"{to} exists already: give another folder with --to.")
    note(f"Fetching {name}.")

    from fewtune.backbones.load import load_backbone
    from fewtune.backbones.packed import pack
    from fewtune.files import new_folder
    from fewtune.machine import Machine

    backbone = load_backbone(name, weights=weights, machine=Machine(device="cpu", dtype="float32"))
    with (made := new_folder(to, elsewhere=False)) as folder:
        packed = pack(backbone, folder)
    licence = "is not known: look it up before you pass the model on" if packed.licence is None else f"is {packed.licence}"
    extra = {"timm": "[timm]", "open_clip": "[clip]"}.get(name.partition(":")[0], "")
    tell(
        f"{backbone.name}: {packed.size / 1e6:.1f} MB in {made.where}. The licence of its weights {licence}.",
        f"Copy the folder {made.where} to the other machine, which needs fewtune (pip install 'fewtune{extra}'). There, type:",
        f"  fewtune adapt DATA --backbone {backbone.name} --weights {made.where.name}",
        f"and to predict with a model that was made here: fewtune predict RUN NEW_FILES --weights {made.where.name}",
    )
