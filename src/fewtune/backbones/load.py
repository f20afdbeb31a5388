"""Loading a backbone by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.own_module import is_own
from fewtune.backbones.passes import placed
from fewtune.backbones.places import RUN, Place, is_packed
from fewtune.backbones.providers.names import PAIR, PROVIDERS, SMALL, Name, in_folder, read_name
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.plugins import load_part


def load_backbone(
    name: str,
    *,
    weights: Path | str | None = None,
    machine: Machine | None = None,
    folder: Path | None = None,
    towers: Sequence[Place] = (),
) -> Backbone:
    """The backbone with a name: `timm:NAME`, `open_clip:NAME[/PRETRAINED]`, `hf:NAME`, `embedded`, `conv4`, `resnet12`, `mlp`,
    `pixels` or `precomputed`, with options after commas; `pair:IMAGE+TEXT`, two of these; or `PROVIDER[:NAME]` of another package (entry
    point group `fewtune.backbones`).

    NAME is a hub name or a local folder. `weights` is a local safetensors or pt file, or a folder, also one that `fewtune fetch` wrote.
    `folder`: the path of a local folder, if the name has only its last part, or of a packed backbone (`backbones.packed`). `towers`: those
    of a pair. Raises InputError if the name, an option, the library or the weights are missing or do not fit.
    """
    if is_own(name):
        raise InputError(
            f"{name} is your own network, which cannot be loaded by its name: give it in Python, fewtune.load(RUN, "
            "backbone=fewtune.Backbone.of(network, ...))."
        )
    given = None if weights is None else Path(weights)
    fetched = [place for place in (folder, given) if place is not None and (place / "backbone.json").is_file()]
    if fetched:
        from fewtune.backbones.packed import load_packed

        whole = load_packed(fetched[0], machine)
        if folder is None and name != whole.name:
            raise InputError(f"{given} holds {whole.name}, not {name}: write --backbone {whole.name} --weights {given}.")
        made_so = name.startswith(RUN) or name.partition(",")[2] == whole.name.partition(",")[2]  # a run is read as it is
        if fetched[0] == given or made_so:
            placed(whole.network, whole.machine, images=whole.preparation.modality == "image")
            return whole
        # read in another way than it was packed for, such as with a template: its files are those of a local folder
    parsed = read_name(name) if folder is None else in_folder(read_name(name), folder.absolute())
    made = loaded(parsed, given, machine, towers)
    placed(made.network, made.machine, images=made.preparation.modality == "image")
    return replace(made, place=Place(parsed.folder, None if given is None else given.absolute(), made.place.towers))


def read_from(place: Place) -> list[Path]:
    """The files that decide the weights of a backbone that was read from a place; none for one of a hub or a library."""
    paths = place.paths
    inside = [file for path in paths if path.is_dir() for file in sorted(path.rglob("*") if is_packed(path) else path.iterdir())]
    return [file for file in (*(path for path in paths if not path.is_dir()), *inside) if file.is_file()]


def loaded(parsed: Name, weights: Path | None, machine: Machine | None, towers: Sequence[Place] = ()) -> Backbone:
    """The backbone of a name that was taken apart, on the CPU; see `load_backbone`."""
    where = (machine or Machine()).resolved()
    if parsed.provider == PAIR:
        from fewtune.backbones.providers.pair_provider import load_pair

        return load_pair(parsed, weights, where, towers)
    if parsed.provider in ("pixels", "precomputed"):
        if weights is not None:
            raise InputError(f"{parsed.provider} has no weights: leave out the weights {weights}.")
        from fewtune.backbones.providers import without_model

        return without_model.load_pixels(parsed, where) if parsed.provider == "pixels" else without_model.load_precomputed(parsed, where)
    if parsed.provider in SMALL:
        from fewtune.backbones.providers.small import load_small

        return load_small(parsed, weights, where)
    if parsed.provider == "embedded":
        from fewtune.backbones.providers.embedded_provider import load_embedded

        return load_embedded(parsed, weights, where)
    if parsed.provider == "timm":
        from fewtune.backbones.providers.timm_provider import load_timm

        return load_timm(parsed, weights, where)
    if parsed.provider == "open_clip":
        from fewtune.backbones.providers.open_clip_provider import load_open_clip

        return load_open_clip(parsed, weights, where)
    if parsed.provider not in PROVIDERS:
        return _others(parsed, weights, where)
    from fewtune.backbones.providers.transformers_provider import load_transformers

    return load_transformers(parsed, weights, where)


def _others(parsed: Name, weights: Path | None, machine: Machine) -> Backbone:
    """The backbone of another package's provider: a function (name, weights, machine) -> Backbone in the group `fewtune.backbones`."""
    made = load_part("fewtune.backbones", parsed.provider)(parsed, weights, machine)
    if not isinstance(made, Backbone):
        raise InputError(f"{parsed.full}: expected a fewtune.Backbone from its provider, found a {type(made).__name__}.")
    return replace(made, name=parsed.full)
