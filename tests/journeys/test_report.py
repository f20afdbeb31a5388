"""The page in a browser: nothing sticks out at the width of a desk and of a phone, and no script of a class name runs."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fewtune.report.page import page
from tests.made_findings import hostile, least, many, painted, rich

NAMES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
SOURCES = ("tiger", "wolf", "violin", "cello", "barn", "castle", "zebra", "okapi", "fox")

# A page without scripts is measured from outside: in a frame of the wanted width (a headless window is never below 500 pixels).
MEASURE = """<!doctype html><meta charset="utf-8"><iframe id="f" style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe>
<script>
document.getElementById("f").onload = function () {{
  const d = this.contentDocument, e = d.documentElement;
  for (const details of d.querySelectorAll("details")) details.open = true;
  const boxes = [...d.querySelectorAll("main *")].filter(b => !b.closest(".scroll, pre, svg, .hidden"));
  const right = Math.max(...boxes.map(b => b.getBoundingClientRect().right));
  const figures = [...d.querySelectorAll("figure svg")].map(s => s.getBoundingClientRect().width);
  const letters = [...d.querySelectorAll("figure svg text")].map(t => t.getBoundingClientRect().height);
  const out = [...d.querySelectorAll("figure svg")].flatMap(s => [...s.querySelectorAll("text")].filter(t =>
    t.getBoundingClientRect().right > s.getBoundingClientRect().right + 2 ||
    t.getBoundingClientRect().left < s.getBoundingClientRect().left - 2).map(t => t.textContent));
  document.title = JSON.stringify({{scroll: e.scrollWidth, client: e.clientWidth, right, figures: Math.min(999, ...figures),
    letters: Math.min(999, ...letters), out, title: d.title, images: [...d.images].filter(i => !i.naturalWidth).length}});
}};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    named = os.environ.get("FEWTUNE_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = named or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium here (set FEWTUNE_CHROMIUM to its path)")
    return found


def opened(chromium: str, text: str, width: int, folder: Path) -> dict[str, object]:
    """What a browser says of the page in a frame `width` pixels wide."""
    import json

    outer = folder / "outer.html"
    # the page's own policy forbids scripts; the frame inherits the right to be read by this one, being its srcdoc
    outer.write_text(MEASURE.format(width=width, page=html.escape(text)), encoding="utf-8")
    flags = ("--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=20000")
    places = (f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500) + 40},1000")
    command = [chromium, *flags, *places, "--dump-dom", outer.as_uri()]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium did not answer within two minutes")
    title = re.search(r"<title>(\{.*?\})</title>", ran.stdout, re.S)
    assert title, ran.stdout[-500:] + ran.stderr[-500:]
    measured: dict[str, object] = json.loads(html.unescape(title[1]))
    return measured


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["rich", "many", "least", "hostile"])
def test_nothing_sticks_out(chromium: str, name: str, width: int, tmp_path: Path) -> None:
    made = {"rich": lambda: rich(painted(8), NAMES, SOURCES), "many": many, "least": least, "hostile": hostile}[name]()
    seen = opened(chromium, page(made), width, tmp_path)
    assert seen["client"] == width and seen["scroll"] == width
    assert float(str(seen["right"])) <= width
    assert seen["out"] == [] and seen["images"] == 0
    assert "fewtune" in str(seen["title"])
    if name != "least":
        assert float(str(seen["figures"])) >= min(width, 460) - 110 and float(str(seen["letters"])) >= 9


@pytest.mark.slow
def test_the_measure_sees_what_sticks_out_and_the_policy_stops_scripts(chromium: str, tmp_path: Path) -> None:
    """The checks above can fail: a wide element is seen; and a script that slipped in would not run."""
    slipped = (
        "<div style='width: 900px'>wide</div><script>document.title = 'ran'</script><img src='https://example.org/x.png' alt='x'></main>"
    )
    seen = opened(chromium, page(least()).replace("</main>", slipped), 390, tmp_path)
    assert seen["scroll"] == 916 and float(str(seen["right"])) == 916
    assert "fewtune" in str(seen["title"]) and seen["images"] == 1
