"""The preprocessing of transformers' vision models as an `ImagePreparation`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.offline import hub_reachable
from fewtune.errors import InputError

OPTIONS = ("size", "crop_pct", "mean", "std", "interpolation")
_MODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def image_settings(name: Name, config: Any) -> ImagePreparation:
    """What the image processor beside the model does, with the name's options.

    Without a processor's file, `size` comes from the configuration, and `mean` and `std` must be given, except for random weights. Raises
    InputError if images are not resized to one size.
    """
    found = _processor(name)
    image = _side(getattr(config, "image_size", None) or 224)
    short, height, width, squash = _sizes(found, image) if found is not None else (image[0], *image, True)
    if "size" in name.options:
        height = width = short = name.integer("size", height)
    if "crop_pct" in name.options:
        short = int(height / name.share("crop_pct", 1.0))
    mean, std = _numbers(found, "image_mean", 0.0), _numbers(found, "image_std", 1.0)
    if found is None and name.flag("pretrained", True) and not {"mean", "std"} <= name.options.keys():
        raise InputError(f"hf:{name.model} has no preprocessor_config.json: say how its images are scaled, for example mean=0.5,std=0.5.")
    mode = _MODES.get(int(getattr(found, "resample", 2) or 0), "bilinear")
    return ImagePreparation(
        height=height,
        width=width,
        short=short,
        mean=name.numbers("mean", mean),
        std=name.numbers("std", std),
        interpolation=name.choice("interpolation", tuple(_MODES.values()), mode),  # type: ignore[arg-type]  # checked by choice
        resize="squash" if squash else "short",
        rounding="floor",
    )


def _processor(name: Name) -> Any:
    """transformers' own image processor, whose class has defaults for settings that its file leaves out; None if there is no file."""
    from transformers import AutoImageProcessor

    local = Path(name.model).is_dir()
    try:
        offline = local or not hub_reachable()
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            name.model, trust_remote_code=False, local_files_only=offline
        )
    except Exception:  # no file, or one that this version cannot read: in both cases the settings must be given
        return None


def _sizes(processor: Any, image: tuple[int, int]) -> tuple[int, int, int, bool]:
    """(short side or height after resizing, height, width, whether the shape is squashed)."""
    size = dict(processor.size or {}) if processor.do_resize else {"height": image[0], "width": image[1]}
    edge, height, width = (int(size.get(side) or 0) for side in ("shortest_edge", "height", "width"))
    if not edge and not (height and width):
        raise InputError(
            f"this model resizes images to {size}, which fewtune does not support: expected shortest_edge, or height and width."
        )
    if getattr(processor, "do_center_crop", False):
        crop = dict(processor.crop_size)
        return edge or height, int(crop["height"]), int(crop["width"]), not edge
    share = getattr(processor, "crop_pct", None)
    if edge and share:  # ConvNeXt: small sizes are cut from larger images, large sizes are squashed
        return (int(edge / share), edge, edge, False) if edge < 384 else (edge, edge, edge, True)
    if edge:
        return edge, *image, False
    return height, height, width, True


def _numbers(processor: Any, kind: str, nothing: float) -> tuple[float, ...]:
    values = getattr(processor, kind, None) if getattr(processor, "do_normalize", False) else None
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(v) for v in values) if values else (nothing,) * 3


def _side(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))
