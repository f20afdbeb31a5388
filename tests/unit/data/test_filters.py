"""Single changes of images against Pillow, SciPy, colorsys, NumPy and by hand."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from fewtune.data.views.augment import augment
from fewtune.data.views.filters import blurred, cut_out, edges, hue, noisy, rotated
from fewtune.data.views.views import Blur, Cutout, Grey, Hue, Noise, Rotate, Sobel, simclr
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.spec import parse, text
from tests.tiny import images

KEY = key(1, "views")


def pixels(count: int = 4, height: int = 20, width: int = 20) -> Tensor:
    made = images(count, height=height, width=width).transpose(0, 3, 1, 2).copy()
    return torch.from_numpy(made).double() / 255


@pytest.mark.parametrize("size", [(20, 20), (20, 31)])
def test_turns_are_those_of_pillow(size: tuple[int, int]) -> None:
    x = pixels(1, *size).float()
    for degrees in (17.0, 123.0, 270.5):
        picture = [Image.fromarray((255 * channel).numpy()) for channel in x[0]]
        theirs = np.stack([np.asarray(p.rotate(degrees, Image.Resampling.BILINEAR)) / 255 for p in picture])
        full = [Image.fromarray(np.full(size, 255.0, dtype=np.float32)).rotate(degrees, Image.Resampling.BILINEAR)]
        inside = ndimage.binary_erosion(np.asarray(full[0]) > 254.9, iterations=1)  # beyond its edges theirs is black
        found = rotated(x, np.array([degrees]))[0].numpy()
        assert inside.mean() > 0.3
        assert np.abs(found - theirs)[:, inside].max() < 2e-2 and np.abs(found - theirs)[:, inside].mean() < 1e-4


def test_quarter_turns_of_squares_are_exact_and_of_others_nearly() -> None:
    x = pixels(4)
    found = rotated(x, np.array([0.0, 90.0, 180.0, 270.0]))
    for k in range(4):
        assert np.array_equal(found[k].numpy(), np.rot90(x[k].numpy(), k, (1, 2)))
    assert torch.equal(rotated(x, np.full(4, -90.0)), rotated(x, np.full(4, 270.0)))
    wide = pixels(1, 20, 30)
    torch.testing.assert_close(rotated(wide, np.array([180.0])), wide.flip(-1, -2), atol=1e-5, rtol=0)


def test_turns_are_drawn_evenly() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2).expand(2000, 1, 2, 2) / 4
    seen = augment(Rotate(), x, np.arange(2000), KEY)
    counts = np.unique(seen[:, 0, 0, 0].numpy(), return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > 1e-3 and len(counts) == 4


def test_colour_drop_is_the_luma_of_pillow() -> None:
    x = pixels()
    for image, seen in zip(x, augment(Grey(share=1.0), x, np.arange(4), KEY), strict=True):
        grey = Image.fromarray((255 * image.permute(1, 2, 0)).round().to(torch.uint8).numpy()).convert("L")
        assert np.abs(seen.numpy() * 255 - np.asarray(grey)).max() <= 1


def test_hue_turns_the_hue_of_colorsys_and_nothing_else() -> None:
    x = torch.rand(3, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, :, 0, 0], x[1, :, 0, 0] = 0.4, 0.0  # without any hue
    x[2, :, 0, 0], x[2, :, 0, 1] = torch.tensor([1.0, 1.0, 0.2]), torch.tensor([0.3, 0.9, 0.9])  # two channels alike
    turns = [0.3, -0.5, 0.0]
    seen = hue(x, torch.tensor(turns, dtype=torch.float64))
    for b, turn in enumerate(turns):
        for i, j in np.ndindex(4, 5):
            h, s, v = colorsys.rgb_to_hsv(*x[b, :, i, j].tolist())
            assert seen[b, :, i, j].tolist() == pytest.approx(colorsys.hsv_to_rgb((h + turn) % 1, s, v), abs=1e-12)


@pytest.mark.parametrize("size", [(20, 20), (9, 31), (5, 1)])
def test_blur_is_that_of_scipy(size: tuple[int, int]) -> None:
    x = pixels(3, 40, 40)[..., : size[0], : size[1]]
    sigmas = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    found = blurred(x, sigmas, radius=6)
    for b, sigma in enumerate(sigmas.tolist()):
        expected = x[b].numpy()
        for axis in (2, 1):
            radius = min(6, size[axis - 1] - 1)
            expected = ndimage.gaussian_filter1d(expected, sigma, axis=axis, mode="mirror", radius=radius) if radius else expected
        np.testing.assert_allclose(found[b].numpy(), expected, atol=1e-12)


def test_blur_draws_its_sigma_within_bounds() -> None:
    point = torch.zeros(200, 1, 41, 41, dtype=torch.float64)
    point[:, :, 20, 20] = 1
    seen = augment(Blur(sigma=(0.5, 2.0), share=1.0), point, np.arange(200), KEY)
    sigma = (seen * (torch.arange(41) - 20) ** 2).sum((1, 2, 3)).sqrt()
    assert 0.45 < sigma.min() < 0.6 and 1.9 < sigma.max() <= 2.0 and abs(sigma.mean() - 1.25) < 0.1
    untouched = augment(Blur(share=0.3), point, np.arange(200), KEY)
    assert abs(float((untouched == point).all((1, 2, 3)).double().mean()) - 0.7) < 0.1


def test_noise_is_gaussian_of_the_strength_and_belongs_to_the_row() -> None:
    x = torch.full((2, 3, 60, 60), 0.5, dtype=torch.float64)
    seen = noisy(x, torch.tensor([0.1, 0.02], dtype=torch.float64), np.array([7, 9], dtype=np.uint64), KEY) - 0.5
    for b, strength in enumerate((0.1, 0.02)):
        values = (seen[b] / strength).flatten().numpy()
        assert stats.kstest(values, "norm").pvalue > 1e-3 and abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.05
    assert abs(np.corrcoef(seen[0].flatten(), seen[1].flatten())[0, 1]) < 0.05
    loud = augment(Noise(most=5.0), x, np.array([7, 9]), KEY)
    assert loud.min() == 0 and loud.max() == 1
    assert torch.equal(augment(Noise(most=0.0), x, np.array([7, 9]), KEY), x)


def test_a_square_is_cut_out_where_it_was_drawn() -> None:
    x = torch.ones(3, 1, 4, 6)
    seen = cut_out(x, np.array([0.5, 0.0, 0.5]), np.array([0.5, 0.0, 1.0]), area=4 / 24)  # a side of two pixels
    grey = [[(i, j) for i, j in np.ndindex(4, 6) if one[0, i, j] == 0.5] for one in seen]
    assert grey == [[(1, 2), (1, 3), (2, 2), (2, 3)], [(0, 0)], [(1, 5), (2, 5)]]
    assert set(seen.unique().tolist()) == {0.5, 1.0}
    many = augment(Cutout(area=0.25), torch.ones(500, 1, 20, 20), np.arange(500), KEY) == 0.5  # 8.75^2 = 76.6 pixels on average
    assert many.flatten(1).sum(1).max() == 100 and 72 < many.double().flatten(1).sum(1).mean() < 81


def test_edges_are_those_of_scipy() -> None:
    x = pixels(2, 15, 22)
    for image, seen in zip(x, edges(x), strict=True):
        grey = 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        expected = np.hypot(*(ndimage.sobel(grey.numpy(), axis=axis, mode="mirror") for axis in (0, 1))) / 4
        for channel in seen:
            np.testing.assert_allclose(channel.numpy(), expected.clip(0, 1), atol=1e-12)
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 1
    assert edges(step)[0, 0, 2].tolist() == [0, 0, 1, 1, 0, 0]
    assert augment(Sobel(), torch.rand(2, 3, 1, 1), np.arange(2), KEY).abs().max() == 0


def test_simclr_s_views_hold_what_the_paper_has() -> None:
    assert [type(part).__name__ for part in simclr().views] == ["Augment", "Hue", "Grey", "Blur"]
    assert simclr(strength=0.5).views[0].colour == 0.4 and math.isclose(simclr(strength=0.5).views[1].strength, 0.1)  # type: ignore[union-attr]
    words = {one.__name__: one for one in (*__import__("fewtune.data.views.views", fromlist=["VIEWS"]).VIEWS, simclr)}
    assert parse(text(simclr()), words) == simclr() and parse("simclr(blur=0.0)", words) == simclr(blur=0.0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Rotate(degrees=200.0), "degrees of Rotate from 0 to 180"),
        (lambda: Hue(strength=0.7), "strength of Hue from 0 to 0.5"),
        (lambda: Blur(sigma=(2.0, 1.0)), "sigma of Blur as two numbers"),
        (lambda: Noise(most=-1.0), "most of Noise of at least 0"),
        (lambda: Cutout(area=0.0), "area of Cutout above 0"),
        (lambda: Grey(share=0.0), "share of Grey is how many of the images are changed"),
        (lambda: Sobel(share=1.5), "share of Sobel"),
    ],
)
def test_values_out_of_range_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]
