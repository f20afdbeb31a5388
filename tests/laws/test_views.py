"""Laws of views: a row is seen alike whatever stands beside it; every operation equals its torchvision twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.views import colours as ours
from fewtune.data.views.augment import augment
from fewtune.data.views.geometry import crops, sampled, shear_x, shear_y, shift, turn
from fewtune.data.views.rand import OPS, Stage, colours, draw, moves
from fewtune.data.views.views import (
    IDENTITY,
    VIEWS,
    Augment,
    Blur,
    Cutout,
    Grey,
    Hue,
    Identity,
    InOrder,
    Noise,
    Rotate,
    Sobel,
    View,
    simclr,
)
from fewtune.errors import InputError
from fewtune.keys import Key, key
from fewtune.machine import Machine
from fewtune.spec import parse, text
from tests.tiny import image_space, images, text_space, vector_space

VIEWS_SEEN = (
    Augment(),
    Augment(crop=None),
    Augment(crop=(0.1, 0.4), flip=False),
    Augment(crop=None, flip=False, colour=0.6),
    Augment(rand_ops=3, magnitude=20),
    Augment(crop=None, flip=False, rand_ops=4),
    Augment(colour=1.5, rand_ops=2, magnitude=30),
    Rotate(degrees=20.0),
    Rotate(quarters=False, degrees=90.0, share=0.5),
    Grey(share=0.5),
    Hue(),
    Blur(),
    Blur(sigma=(0.5, 1.0), share=1.0),
    Noise(),
    Cutout(),
    Sobel(share=0.5),
    simclr(),
    InOrder(views=(Noise(), Noise())),
)
KEY = key(3, "step", 7, "query")
NOTHING = Augment(crop=(1.0, 1.0), flip=False)
STEP = 1 / 255


def pixels(count: int = 12, *, grey: bool = False, height: int = 22, width: int = 30, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth pictures in whole 8-bit steps, in [0, 1], [B, C, H, W]."""
    made = torch.from_numpy(images(count, height=height, width=width).transpose(0, 3, 1, 2).copy())
    return (made[:, :1] if grey else made).to(dtype) / 255


def whole(values: Tensor) -> Tensor:
    return (values * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def twin() -> Any:
    return pytest.importorskip("torchvision.transforms.v2.functional")


# the laws of every view


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("view", VIEWS_SEEN, ids=text)
def test_a_row_is_seen_alike_in_any_batch(view: View, grey: bool) -> None:
    x, rows = pixels(grey=grey), np.arange(12) * 1000 + 5
    before = x.clone()
    seen = augment(view, x, rows, KEY)
    assert seen.shape == x.shape and seen.dtype == x.dtype and torch.equal(x, before)
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1 + 1e-6
    order = np.random.default_rng(0).permutation(12)
    for chunk in (order, order[:5], *np.split(order, 6), *order[:, None]):
        assert torch.equal(augment(view, x[chunk], rows[chunk], KEY), seen[chunk])


@pytest.mark.parametrize("view", VIEWS_SEEN, ids=text)
def test_the_key_decides(view: View) -> None:
    x, rows = pixels(), np.arange(12)
    seen = augment(view, x, rows, KEY)
    assert torch.equal(augment(view, x, rows, KEY), seen)
    for other in (key(3, "step", 8, "query"), key(3, "step", 7, "support"), key(4, "step", 7, "query"), KEY.child("copy", 1)):
        assert not torch.equal(augment(view, x, rows, other), seen)
    assert not torch.equal(augment(view, x, rows + 12, KEY), seen)


@pytest.mark.parametrize("view", VIEWS_SEEN, ids=text)
def test_layout_and_precision_change_nothing(view: View) -> None:
    x, rows = pixels(), np.arange(12)
    seen = augment(view, x, rows, KEY)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(view, last, rows, KEY), seen)
    if not getattr(view, "rand_ops", 0):  # the others work on eight bits, where a hair decides
        torch.testing.assert_close(augment(view, x.double(), rows, KEY).float(), seen, atol=2e-5, rtol=0)


@pytest.mark.parametrize("view", VIEWS_SEEN, ids=text)
def test_a_gpu_makes_the_same_views(view: View) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    x, rows = pixels(), np.arange(12)
    seen = augment(view, x.cuda(), rows, KEY)
    assert seen.is_cuda and torch.equal(augment(view, x[3:5].cuda(), rows[3:5], KEY), seen[3:5])
    off = (seen.cpu() - augment(view, x, rows, KEY)).abs()
    assert float(off.mean()) < (1e-5 if not getattr(view, "rand_ops", 0) else 1e-2)  # on eight bits a hair decides


@pytest.mark.parametrize("view", [NOTHING, Augment(crop=None, flip=False, magnitude=30)])
def test_parameters_of_the_identity_return_the_pixels(view: Augment) -> None:
    for height, width in ((22, 30), (30, 22), (96, 96), (5, 40)):
        x = torch.rand(6, 3, height, width, generator=KEY.torch_generator())
        assert torch.equal(augment(view, x, np.arange(6), KEY), x)


@pytest.mark.parametrize("op", sorted(set(OPS) - {"autocontrast", "equalize"}))
def test_magnitude_zero_is_the_identity(op: str) -> None:
    x = pixels()
    stage = Stage(np.full(12, OPS.index(op)), np.where(np.arange(12) % 2, 1.0, -1.0))
    torch.testing.assert_close(colours(sampled(x, moves(stage, 0, 22, 30)), stage, 0), x, atol=1e-6, rtol=0)


def test_flips_are_flips() -> None:
    x = pixels(400, height=4, width=5)
    seen = augment(Augment(crop=None), x, np.arange(400), KEY)
    turned = [torch.equal(s, o.flip(-1)) for s, o in zip(seen, x, strict=True)]
    assert all(t or torch.equal(s, o) for t, s, o in zip(turned, seen, x, strict=True))
    assert 140 < sum(turned) < 260  # six standard deviations


def test_an_image_of_one_pixel_and_no_image_at_all() -> None:
    view = Augment(colour=0.5, rand_ops=14)
    assert augment(view, torch.rand(40, 3, 1, 1), np.arange(40), KEY).shape == (40, 3, 1, 1)
    assert augment(view, torch.rand(0, 3, 8, 8), np.arange(0), KEY).shape == (0, 3, 8, 8)


# crops


@given(
    st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)).map(lambda p: (min(p), max(p))),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_crops_lie_inside_and_cover_the_stated_share(area: tuple[float, float], height: int, width: int, seed: int) -> None:
    maps = crops(area, height, width, key(seed), np.arange(50, dtype=np.uint64))
    wide, tall, x, y = maps[:, 0, 0], maps[:, 1, 1], maps[:, 0, 2], maps[:, 1, 2]
    assert (wide <= 1).all() and (tall <= 1).all()
    assert (abs(x) + wide <= 1 + 1e-12).all() and (abs(y) + tall <= 1 + 1e-12).all()
    assert (area[0] - 1e-9 <= wide * tall).all() and (wide * tall <= area[1] + 1e-9).all()
    ratio = wide * width / (tall * height)
    inside = (ratio > 0.75 - 1e-9) & (ratio < 4 / 3 + 1e-9)
    assert (inside | np.isclose(wide, 1) | np.isclose(tall, 1)).all()


def test_crops_are_spread_evenly() -> None:
    maps = crops((0.2, 0.8), 96, 96, KEY, np.arange(20000, dtype=np.uint64))
    share = maps[:, 0, 0] * maps[:, 1, 1]
    assert np.allclose(np.quantile(share, [0, 0.25, 0.5, 0.75, 1]), [0.2, 0.35, 0.5, 0.65, 0.8], atol=0.01)
    place = maps[:, 0, 2] / (1 - maps[:, 0, 0])
    assert np.allclose(np.quantile(place, [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.03) and abs(np.log(share).std()) > 0
    assert abs(np.corrcoef(maps[:, 0, 2], maps[:, 1, 2])[0, 1]) < 0.03


def test_a_crop_equals_torchvisions_resized_crop_within_its_edges(twin: Any) -> None:
    x = pixels(3, height=24, width=32, dtype=torch.float64)
    top, left, height, width = 3, 8, 16, 20
    box = np.array([[width / 32, 0, (2 * left + width) / 32 - 1], [0, height / 24, (2 * top + height) / 24 - 1], [0, 0, 1]])
    found = sampled(x, np.stack([box] * 3))
    expected = twin.resized_crop(x, top, left, height, width, [24, 32], antialias=False)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6, rtol=0)
    corner = np.array([[0.5, 0, -0.5], [0, 0.5, -0.5], [0, 0, 1]])  # edges of the image itself are edges of both
    expected = twin.resized_crop(x, 0, 0, 12, 16, [24, 32], antialias=False)
    torch.testing.assert_close(sampled(x, np.stack([corner] * 3))[..., :-1, :-1], expected[..., :-1, :-1], atol=1e-6, rtol=0)


# geometry


@pytest.mark.parametrize(
    ("made", "affine"),
    [
        (lambda h, w: turn(17, h, w), {"angle": -17.0}),
        (lambda h, w: turn(-30, h, w), {"angle": 30.0}),
        (lambda h, w: shear_x(0.3, h, w), {"shear": [math.degrees(math.atan(0.3)), 0.0]}),
        (lambda h, w: shear_y(-0.2, h, w), {"shear": [0.0, math.degrees(math.atan(-0.2))]}),
        (lambda h, w: shift(4 / w, 0), {"translate": [4, 0]}),  # noqa: ARG005
        (lambda h, w: shift(0, -3 / h), {"translate": [0, -3]}),  # noqa: ARG005
    ],
    ids=["turn", "turn back", "shear x", "shear y", "shift right", "shift up"],
)
def test_geometry_equals_torchvisions_affine(twin: Any, made: Callable[[int, int], Any], affine: dict[str, Any]) -> None:
    x = pixels(2, height=24, width=32, dtype=torch.float64)
    asked = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | affine
    bilinear = pytest.importorskip("torchvision.transforms").InterpolationMode.BILINEAR
    expected = twin.affine(x, **asked, interpolation=bilinear)
    shown = twin.affine(torch.ones_like(x), **asked, interpolation=bilinear) > 1 - 1e-9  # beyond its edges theirs is black, ours mirrored
    found = sampled(x, np.stack([made(24, 32)] * 2))
    assert shown.double().mean() > 0.6
    torch.testing.assert_close(found[shown], expected[shown], atol=1e-5, rtol=0)


def test_maps_compose_in_order_and_are_sampled_once() -> None:
    """Two shifts are one; a quarter turn of a square, then a shift, moves pixels exactly."""
    x = pixels(1, height=16, width=16, dtype=torch.float64)
    once = sampled(x, (turn(90, 16, 16) @ shift(3 / 16, 0))[None])
    torch.testing.assert_close(once[..., 3:], torch.rot90(x, 1, (2, 3))[..., :-3], atol=1e-9, rtol=0)
    torch.testing.assert_close(sampled(x, (shift(0.1, 0) @ shift(-0.1, 0.0))[None]), x, atol=1e-9, rtol=0)


def test_beyond_the_edges_the_image_is_mirrored() -> None:
    x = pixels(1, height=8, width=8, dtype=torch.float64)
    found = sampled(x, shift(3 / 8, 0)[None])
    torch.testing.assert_close(found, torch.cat([x[..., :3].flip(-1), x[..., :5]], dim=-1), atol=1e-9, rtol=0)


# colours


FACTORS = (0.0, 0.1, 0.73, 1.0, 1.27, 1.9, 3.0)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_blends_equal_torchvision_for_a_factor_of_each_image(twin: Any, name: str, grey: bool) -> None:
    x = pixels(len(FACTORS), grey=grey, dtype=torch.float64)
    found = getattr(ours, name)(x, torch.tensor(FACTORS, dtype=torch.float64))
    adjust = getattr(twin, f"adjust_{name}")
    for one, image, factor in zip(found, x, FACTORS, strict=True):
        torch.testing.assert_close(one, adjust(image, factor), atol=2e-6, rtol=0)
        # on 8 bits torchvision cuts off instead of rounding, in the grey and in the blend
        off = (255 * one - adjust(whole(image), factor).double()).abs().max()
        assert float(off) <= 1 + 1.1 * abs(1 - factor)


@pytest.mark.parametrize("grey", [False, True])
def test_tables_equal_torchvision_on_8_bits(twin: Any, grey: bool) -> None:
    flat = torch.full((1, 1 if grey else 3, 22, 30), 77 / 255)
    x = torch.cat([pixels(9, grey=grey), pixels(2, grey=grey) * 0.3 + 0.1, (pixels(1, grey=grey) > 0.5).float(), flat])
    x = whole(x).float() / 255
    eight = whole(x)
    for bits in range(9):
        assert torch.equal(whole(ours.posterize(x, bits)), twin.posterize(eight, bits))
    for threshold in (0, 1, 100, 127.5, 255, 256):
        assert torch.equal(whole(ours.solarize(x, threshold)), torch.where(eight.long() >= threshold, 255 - eight, eight))
        if threshold <= 255:
            assert torch.equal(whole(ours.solarize(x, threshold)), twin.solarize(eight, threshold))
    assert torch.equal(whole(ours.equalize(x)), twin.equalize(eight))
    stretched = 255 * ours.autocontrast(x) - twin.autocontrast(eight)
    assert float(stretched.min()) > -1e-4 and float(stretched.max()) <= 1  # torchvision cuts off
    torch.testing.assert_close(ours.autocontrast(x), twin.autocontrast(x), atol=1e-6, rtol=0)


def test_equalize_equals_pillow() -> None:
    from PIL import Image, ImageOps

    for image in pixels(4):
        picture = Image.fromarray(whole(image).permute(1, 2, 0).numpy())
        expected = torch.from_numpy(np.asarray(ImageOps.equalize(picture)).copy()).permute(2, 0, 1)
        assert torch.equal(whole(ours.equalize(image[None]))[0], expected)


def test_jitter_stays_in_its_range() -> None:
    """One grey image shows the factor: contrast and saturation leave it as it is."""
    x = torch.full((3000, 3, 2, 2), 0.25)
    for strength, low, high in ((0.4, 0.6, 1.4), (2.0, 0.0, 3.0)):
        factor = augment(Augment(crop=None, flip=False, colour=strength), x, np.arange(3000), KEY)[:, 0, 0, 0] / 0.25
        assert low - 1e-4 <= float(factor.min()) < low + 0.02 and high - 0.02 < float(factor.max()) <= high + 1e-4
        assert float(factor.mean()) == pytest.approx((low + high) / 2, abs=0.06)


# RandAugment


def test_every_operation_is_drawn_as_often() -> None:
    stages = draw(2, KEY, np.arange(14000, dtype=np.uint64))
    counts = np.stack([np.bincount(s.ops, minlength=len(OPS)) for s in stages])
    assert len(OPS) == 14 and (abs(counts - 1000) < 200).all() and not np.array_equal(stages[0].ops, stages[1].ops)
    assert all(abs(s.signs.mean()) < 0.05 and set(s.signs) == {-1.0, 1.0} for s in stages)


@pytest.mark.parametrize("magnitude", [0, 4, 9, 30])
def test_strengths_are_torchvisions(magnitude: int) -> None:
    table = pytest.importorskip("torchvision.transforms.v2").RandAugment._AUGMENTATION_SPACE
    theirs = {name: float(made(31, 331, 331)[magnitude]) for name, (made, _) in table.items() if made(31, 331, 331) is not None}
    stage = Stage(np.array([OPS.index(n) for n in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")]), np.ones(5))
    found = moves(stage, magnitude, 331, 331)
    assert np.allclose(found[0], turn(theirs["Rotate"], 331, 331), atol=1e-6)
    assert np.allclose(found[1:3], [shear_x(theirs["ShearX"], 331, 331), shear_y(theirs["ShearY"], 331, 331)], atol=1e-6)
    assert np.allclose(found[3:], [shift(theirs["TranslateX"] / 331, 0), shift(0, theirs["TranslateY"] / 331)], atol=1e-6)
    x = pixels(2, dtype=torch.float64)
    for name, change, op in (
        ("Brightness", ours.brightness, "brightness"),
        ("Color", ours.saturation, "color"),
        ("Contrast", ours.contrast, "contrast"),
        ("Sharpness", ours.sharpness, "sharpness"),
    ):
        factors = torch.tensor([1 - theirs[name], 1 + theirs[name]], dtype=torch.float64)
        both = Stage(np.full(2, OPS.index(op)), np.array([-1.0, 1.0]))
        torch.testing.assert_close(colours(x, both, magnitude), change(x, factors), atol=1e-6, rtol=0)
    both = Stage(np.full(2, OPS.index("posterize")), np.ones(2))
    assert torch.equal(colours(x, both, magnitude), ours.posterize(x, int(theirs["Posterize"])))


def test_an_operation_touches_only_those_that_drew_it() -> None:
    x = pixels(len(OPS))
    stage = Stage(np.arange(len(OPS)), np.ones(len(OPS)))
    seen = colours(sampled(x, moves(stage, 15, 22, 30)), stage, 15)
    for i in range(len(OPS)):
        alone = Stage(stage.ops[i : i + 1], stage.signs[i : i + 1])
        one = colours(sampled(x[i : i + 1], moves(alone, 15, 22, 30)), alone, 15)
        assert torch.equal(one[0], seen[i]) and torch.equal(one[0], x[i]) == (OPS[i] == "identity")


# specs, and what a backbone does with them


@pytest.mark.parametrize("view", [IDENTITY, *VIEWS_SEEN, NOTHING], ids=text)
def test_the_text_of_a_view_spells_it(view: Identity | Augment) -> None:
    assert parse(text(view), {v.__name__: v for v in VIEWS}) == view


@pytest.mark.parametrize(
    "options",
    [{"crop": (0.0, 1.0)}, {"crop": (0.6, 0.5)}, {"crop": (0.5, 1.1)}, {"colour": -0.1}, {"rand_ops": -1}, {"magnitude": 31}],
    ids=str,
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Augment(**options)


@pytest.mark.parametrize("name", ["conv4,size=16,width=8", "pixels,size=6", "resnet12,size=16"])
def test_a_backbone_sees_a_row_alike_whatever_its_chunks_and_workers(name: str) -> None:
    view, rows = Augment(colour=0.2, rand_ops=1), np.array([[3, 0, -1], [9, 3, 6]])
    space = image_space(10)

    def embedded(rows: np.ndarray[Any, Any], key: Key = KEY, view: Identity | Augment = view, **machine: int) -> Tensor:
        backbone = load_backbone(name, machine=Machine(device="cpu", dtype="float32", **machine))
        return backbone.embed(backbone.start(), space, rows, view, key)

    seen = embedded(rows, chunk=8, workers=2)
    near = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(embedded(rows, chunk=1, workers=1), seen, **near)
    torch.testing.assert_close(embedded(np.array([6])), seen[1, 2:], **near)
    assert torch.equal(seen[0, 0], seen[1, 1]) and bool((seen[0, 2] == 0).all())  # one view of a row in one call
    assert not torch.allclose(embedded(rows, KEY.child("copy", 1)), seen, **near)
    plain = embedded(rows, view=IDENTITY)
    assert not torch.allclose(plain, seen, **near)
    torch.testing.assert_close(embedded(rows, view=NOTHING), plain, **near)


def test_a_backbone_embeds_the_flipped_image() -> None:
    backbone = load_backbone("pixels,size=6", machine=Machine(device="cpu", dtype="float32"))
    space, rows = image_space(10), np.arange(10)
    plain, seen = (backbone.embed(backbone.start(), space, rows, v, KEY).view(10, -1, 6, 6) for v in (IDENTITY, Augment(crop=None)))
    flips = KEY.child("flip").uniform(rows.astype(np.uint64)) < 0.5
    for row in rows:
        torch.testing.assert_close(seen[row], plain[row].flip(-1) if flips[row] else plain[row], atol=1e-6, rtol=0)
    for chunk in (1, 8):
        again = load_backbone("pixels,size=6", machine=Machine(device="cpu", dtype="float32", chunk=chunk))
        assert torch.equal(again.embed(again.start(), space, rows, Augment(crop=None), KEY).view_as(seen), seen)


def test_rows_that_cannot_be_read_do_not_shift_the_views() -> None:
    """The chunk's other rows keep the views of their own row numbers."""
    from dataclasses import replace

    from fewtune.data.row_space import RowSpace

    backbone = load_backbone("pixels,size=6", machine=Machine(device="cpu", dtype="float32"))
    space = image_space(6)
    broken = RowSpace([replace(space.sources[0], items=_Broken(space.sources[0].items))])
    bad: dict[int, str] = {}
    parts = [f for _, f in backbone.embed_chunks(backbone.start(), broken, np.arange(6), Augment(), KEY, bad=bad)]
    seen = backbone.embed(backbone.start(), space, np.arange(6), Augment(), KEY)
    good = [0, 1, 3, 4, 5]
    assert set(bad) == {2} and torch.equal(torch.cat(parts)[good], seen[good])


class _Broken:
    modality = "image"

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def fetch(self, row: int, size_hint: int | None = None) -> Any:
        if row == 2:
            raise InputError("row 2 is broken.")
        return self.whole.fetch(row, size_hint)

    def digest(self, row: int) -> bytes:
        return self.whole.digest(row)


def test_texts_and_vectors_have_no_views() -> None:
    for name, space in (("mlp,inputs=3", vector_space()), ("precomputed", vector_space())):
        backbone = load_backbone(name, machine=Machine(device="cpu"))
        with pytest.raises(InputError, match="takes vectors: expected the identity view"):
            backbone.embed(backbone.start(), space, np.arange(2), Augment(), KEY)
    backbone = load_backbone("pixels,size=6", machine=Machine(device="cpu"))
    with pytest.raises(InputError, match="expected a key"):
        backbone.embed(backbone.start(), image_space(2), np.arange(2), Augment())
    with pytest.raises(InputError, match="holds texts"):
        backbone.embed(backbone.start(), text_space(), np.arange(2), Augment(), KEY)
