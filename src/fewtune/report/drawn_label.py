"""A photo with words below it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fewtune.words import one_line

LEAST_WIDTH = 240  # pixels: smaller photos are shown larger, so that the words fit
_MOST = 16_000_000  # pixels of a photo that is shown larger: a strip would have too many
LEAST_SIZE = 13  # pixels of the letters


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic and more."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def labelled(photo: Image.Image, label: str, rest: str) -> Image.Image:
    """The photo, upright RGB, with a black strip below it that says `label` and, greyer, `rest`. Too long a label is cut."""
    factor = -(-LEAST_WIDTH // photo.width)
    if photo.width < LEAST_WIDTH and photo.width * photo.height * factor**2 <= _MOST:
        photo = photo.resize((photo.width * factor, photo.height * factor), Image.Resampling.LANCZOS)
    font = _font(max(LEAST_SIZE, round(0.045 * min(photo.width, 2 * photo.height))))
    edge = round(0.5 * font.size)
    label, rest = one_line(label), one_line(rest)
    width = max(photo.width, LEAST_WIDTH)
    room = width - 3 * edge - font.getlength(rest)
    if font.getlength(label) > room:
        while label and font.getlength(label + "…") > room:
            label = label[:-1]
        label += "…"
    made = Image.new("RGB", (width, photo.height + round(1.7 * font.size)), "black")
    made.paste(photo, (0, 0))
    pen = ImageDraw.Draw(made)
    middle = photo.height + round(0.85 * font.size)
    pen.text((edge, middle), label, font=font, fill="white", anchor="lm")
    pen.text((made.width - edge, middle), rest, font=font, fill="#bbbbbb", anchor="rm")
    return made
