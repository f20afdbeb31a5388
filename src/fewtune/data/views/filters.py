"""Single changes of images in [0, 1], C = 1 or 3: turns, colours, blur, noise, a covered square, edges.

Every function returns images [B, C, H, W] and does not change its input; the result of an image does not depend on the others, to the last
bit: no convolution of a library is used, whose sums depend on the size of the batch.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewtune.data.views.colours import saturation
from fewtune.data.views.geometry import sampled, turn
from fewtune.data.views.views import Blur, Cutout, Grey, Hue, Noise, Rotate, Sobel
from fewtune.keys import Counters, Key

Places: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_TRUNCATE = 4.0  # standard deviations of a Gaussian kernel, as in SciPy
_PIXELS = np.uint64(1 << 28)  # more values than an image has


def changed(view: Rotate | Grey | Hue | Blur | Noise | Cutout | Sobel, images: Tensor, counters: Counters, key: Key) -> Tensor:
    """The images after one change of `view.share` of them; the others keep their very pixels."""
    which = np.flatnonzero(key.child("share").uniform(counters) < view.share)
    if not len(which):
        return images
    index = torch.from_numpy(which).to(images.device)
    return images.index_copy(0, index, _changed(view, images[index], counters[which], key))


def _changed(view: object, images: Tensor, counters: Counters, key: Key) -> Tensor:
    def between(name: str, low: float, high: float) -> Float[Tensor, " B"]:
        return torch.from_numpy(low + (high - low) * key.child(name).uniform(counters)).to(images)

    match view:
        case Rotate():
            return rotated(images, _angles(view, counters, key))
        case Grey():
            return saturation(images, images.new_zeros(len(images)))
        case Hue():
            return hue(images, between("hue", -view.strength, view.strength))
        case Blur():
            return blurred(images, between("sigma", *view.sigma), radius=int(_TRUNCATE * view.sigma[1] + 0.5))
        case Noise():
            return noisy(images, between("strength", 0.0, view.most), counters, key.child("values"))
        case Cutout():
            return cut_out(images, key.child("top").uniform(counters), key.child("left").uniform(counters), view.area)
        case Sobel():
            return edges(images)
    raise TypeError(f"{view!r} is no single change.")


def _angles(view: Rotate, counters: Counters, key: Key) -> Places:
    """Degrees, counter-clockwise."""
    angles = view.degrees * (2 * key.child("angle").uniform(counters) - 1)
    return angles + 90 * key.child("quarter").below(4, counters) if view.quarters else angles


def rotated(images: Float[Tensor, "B C H W"], degrees: Places) -> Float[Tensor, "B C H W"]:
    """Turned counter-clockwise about the middle, bilinear; a quarter turn of a square image interpolates nothing."""
    height, width = images.shape[-2:]
    if height != width:
        return sampled(images, np.stack([turn(one, height, width) for one in degrees.tolist()]))
    quarters = np.floor_divide(degrees, 90).astype(np.int64) % 4
    found = images
    for count in (1, 2, 3):
        index = torch.from_numpy(np.flatnonzero(quarters == count)).to(images.device)
        found = found.index_copy(0, index, images[index].rot90(count, (-2, -1)))
    rest = degrees % 90
    return sampled(found, np.stack([turn(one, height, width) if one else np.eye(3) for one in rest.tolist()]))


def hue(images: Float[Tensor, "B C H W"], turns: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """All hues turned by a part of the circle; value and saturation (of HSV) stay. Images of one channel do not change."""
    if images.shape[1] == 1:
        return images
    most, least = images.amax(1), images.amin(1)
    chroma = most - least
    red, green, blue = images.unbind(1)
    divisor = torch.where(chroma > 0, chroma, 1)
    others = torch.where(most == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    sixth = torch.where(most == red, (green - blue) / divisor % 6, others)
    sixth = (sixth + 6 * turns[:, None, None]) % 6
    channels = [((sixth + offset) % 6 - 3).abs().sub(1).clamp(0, 1) for offset in (0, 4, 2)]  # of a pure colour
    return torch.stack([most - chroma * (1 - channel) for channel in channels], dim=1)


def blurred(images: Float[Tensor, "B C H W"], sigmas: Float[Tensor, " B"], radius: int) -> Float[Tensor, "B C H W"]:
    """Gaussian blur, rows then columns; the kernel has `radius` pixels on each side of the middle (fewer in a smaller image)."""
    for dim in (-1, -2):
        size = images.shape[dim]
        reach = min(radius, size - 1)
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-0.5 * (places / sigmas[:, None]) ** 2)
        kernel = kernel / kernel.sum(1, keepdim=True)
        wide = functional.pad(images, (reach, reach, 0, 0) if dim == -1 else (0, 0, reach, reach), mode="reflect") if reach else images
        total = torch.zeros_like(images)
        for tap in range(2 * reach + 1):
            total += kernel[:, tap, None, None, None] * wide.narrow(dim, tap, size)
        images = total
    return images


def noisy(images: Float[Tensor, "B C H W"], strengths: Float[Tensor, " B"], counters: Counters, key: Key) -> Float[Tensor, "B C H W"]:
    """Gaussian noise of the given standard deviations, cut to [0, 1]; each value's draw is a function of (key, row, place)."""
    places = np.arange(math.prod(images.shape[1:]), dtype=np.uint64)
    uniform = key.uniform(counters[:, None] * _PIXELS + places) + 2.0**-54
    values = torch.special.ndtri(torch.from_numpy(uniform)).to(images).view_as(images)
    found: Tensor = (images + strengths[:, None, None, None] * values).clamp(0, 1)
    return found


def cut_out(images: Float[Tensor, "B C H W"], top: Places, left: Places, area: float) -> Float[Tensor, "B C H W"]:
    """Grey (0.5) in a square of `area` of the image, whose middle lies at the shares `top` and `left` of its height and width."""
    height, width = images.shape[-2:]
    side = math.sqrt(area * height * width)

    def inside(middles: Places, size: int) -> Tensor:
        places = np.arange(size) + 0.5
        found: Tensor = torch.from_numpy(np.abs(places - middles[:, None] * size) <= side / 2).to(images.device)
        return found

    square = inside(top, height)[:, None, :, None] & inside(left, width)[:, None, None, :]
    covered: Tensor = images.masked_fill(square, 0.5)
    return covered


def edges(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The length of the gradient of the grey image, a quarter of Sobel's, at most 1, in every channel."""
    if min(images.shape[-2:]) < 2:
        return torch.zeros_like(images)
    grey = saturation(images, images.new_zeros(len(images)))
    wide = functional.pad(grey, (1, 1, 1, 1), mode="reflect")

    def smooth(image: Tensor, dim: int) -> Tensor:
        size = image.shape[dim] - 2
        return image.narrow(dim, 0, size) + 2 * image.narrow(dim, 1, size) + image.narrow(dim, 2, size)

    def step(image: Tensor, dim: int) -> Tensor:
        size = image.shape[dim] - 2
        return image.narrow(dim, 2, size) - image.narrow(dim, 0, size)

    across, down = smooth(step(wide, -1), -2), smooth(step(wide, -2), -1)
    return (torch.sqrt(across**2 + down**2) / 4).clamp(0, 1)
