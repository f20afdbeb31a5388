"""The page as text: whole, self-contained, nothing run and nothing fetched, whatever users call their things."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fewtune.adaptation.verdict import Verdict
from fewtune.report.findings import Confusion, Curve, Doubt, Findings, Looked, MethodRow, Selection, Similarity
from fewtune.report.page import page, write_page
from fewtune.statistics import Interval
from tests.made_findings import HOSTILE, around, frozen, hostile, judged, least, many, painted, rich, told

NAMES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
SOURCES = ("tiger", "wolf", "violin", "cello", "barn", "castle", "zebra", "okapi", "fox")
VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class Read(HTMLParser):
    """Elements with their attributes, text, and whether every element was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        return [a["id"] for a in self.of("section") if "id" in a]


DONE = Verdict("unknown", "Done.")
CASES = {
    "rich": lambda: rich(painted(8), NAMES, SOURCES),
    "frozen": lambda: frozen(painted(8), NAMES),
    "many": many,
    "least": least,
    "hostile": hostile,
    "verdict alone": lambda: Findings(verdict=DONE, kept="frozen"),
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: page(make()) for name, make in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_page_is_one_file_without_scripts_and_without_anything_from_elsewhere(pages: dict[str, str], name: str) -> None:
    read = Read(pages[name])
    assert not read.of("script") and not read.of("link") and not read.of("iframe") and not read.of("object") and not read.of("base")
    for tag, attributes in read.elements:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), (tag, attribute)
            if attribute in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
                assert value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,")), (tag, value[:40])
            if attribute in ("style", "fill", "stroke", "clip-path"):
                assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)", value))
    style = re.search(r"<style>(.*?)</style>", pages[name], re.S)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    policy = next(m["content"] for m in read.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy and "img-src data:" in policy


@pytest.mark.parametrize("name", CASES)
def test_ids_are_unique_and_every_reference_is_met(pages: dict[str, str], name: str) -> None:
    read = Read(pages[name])
    ids = Counter(a["id"] for _, a in read.elements if "id" in a)
    assert set(ids.values()) <= {1}
    for _, attributes in read.elements:
        wanted = [attributes["href"][1:]] if attributes.get("href", "").startswith("#") else []
        wanted += re.findall(r"url\(#([^)]*)\)", " ".join(attributes.values()))
        wanted += attributes.get("aria-labelledby", "").split()
        assert set(wanted) <= set(ids)


@pytest.mark.parametrize("name", CASES)
def test_a_page_can_be_read_by_ear(pages: dict[str, str], name: str) -> None:
    """Headings without gaps, pictures with words, tables with scopes, one language and one title."""
    read = Read(pages[name])
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(a.get("alt") for a in read.of("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in read.of("svg"))
    assert all(a.get("scope") in ("row", "col") for a in read.of("th"))
    assert read.of("html")[0]["lang"] == "en" and len(read.of("title")) == 1


def test_the_verdict_comes_first_and_the_sections_in_their_order(pages: dict[str, str]) -> None:
    read = Read(pages["rich"])
    assert read.sections == [
        "mislabelled", "confusion", "uncertain", "forecast", "skipped", "next",
        "learners", "guard", "selection", "curves", "maps", "leaks", "budget",
    ]  # fmt: skip
    said = read.text
    order = ["Ready to use", "About 84 of 100 new photos", "80 to 88%", "Finetuning helped: about 5", "What to do next", "In detail",
             "What is taken for what", "For specialists", "Learners compared", "Did finetuning help?"]  # fmt: skip
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert {"verdict", "ready"} <= set(read.of("section")[0]["class"].split())


def test_statistics_are_folded(pages: dict[str, str]) -> None:
    """Before the fold for specialists nobody meets a p value, the name of a learner, or an interval with its level."""
    made = pages["rich"]
    top = made[made.index("<header>") : made.index('<details class="more">')]
    rest = made[made.index('<nav aria-label="Sections">') : made.index('<details class="deeper">')]
    for words in ("ridge", "adjusted", "95% interval", "paired", "held-out", "logistic", "cosine"):
        assert words not in Read(top).text and words not in Read(rest).text, words


def test_the_lights_differ() -> None:
    """47% never looks like 92%."""
    drawn = {light: page(Findings(verdict=told(light, around(0.5, 0.1)), kept="frozen")) for light in ("ready", "review", "not ready")}
    classes = {light: Read(made).of("section")[0]["class"] for light, made in drawn.items()}
    assert classes == {"ready": "verdict ready", "review": "verdict review", "not ready": "verdict not-ready"}
    assert all(f".verdict.{name.split()[1]} {{" in drawn["ready"] for name in classes.values())


def test_what_everyone_reads_is_easy_to_read(pages: dict[str, str]) -> None:
    """Flesch and Kincaid's grade of the page above the fold for specialists, without names and numbers: below nine."""
    made = pages["rich"]
    words = re.findall(
        r"<p[^>]*>(.*?)</p>", made[made.index("<main>") : made.index('<details class="deeper">')].split("In detail")[0], re.S
    )
    words += re.findall(
        r'<p class="how">(.*?)</p>', made[made.index('<nav aria-label="Sections">') : made.index('<details class="deeper">')], re.S
    )
    words += re.findall(r"<figcaption>.*?<p>(.*?)</p>", made[: made.index('<details class="deeper">')], re.S)
    sentences = [s for said in words for s in re.split(r"(?<=[.;:]) ", " ".join(Read(said).text.split())) if len(s.split()) > 3]
    assert len(sentences) >= 25
    tokens = re.findall(r"[A-Za-z']+", " ".join(sentences))
    syllables = sum(
        max(1, len(re.findall(r"[aeiouy]+", t.lower())) - (t.lower().endswith("e") and not t.lower().endswith("le"))) for t in tokens
    )
    assert 0.39 * len(tokens) / len(sentences) + 11.8 * syllables / len(tokens) - 15.59 < 9


def test_sections_are_absent_without_data_and_say_none_where_none_was_found(pages: dict[str, str]) -> None:
    assert Read(pages["verdict alone"]).sections == []
    few = Read(pages["least"])
    assert few.sections == ["confusion", "next", "learners"]
    assert "Not tested" in few.text and "Nothing could be tested" in few.text and "nan" not in few.text.lower()
    kept = Read(pages["frozen"])
    assert "Usable if somebody checks" in kept.text and "None: no photo of the other data is nearly the same" in kept.text
    assert "None: the model is nowhere sure of a class other than the one you gave." in kept.text and "tasks" in kept.text


def test_numbers_are_shown_in_percent_and_points_with_their_intervals() -> None:
    ahead = Interval(0.1234, 0.0456, 0.2012, 0.9, 20, "paired t")
    said = Read(
        page(
            Findings(
                verdict=replace(DONE, accuracy=Interval(0.6789, 0.6012, 0.7345, 0.9, 20, "wilson"), guessing=0.25),
                kept="frozen",
                methods=(
                    MethodRow(name="ridge", kind="frozen", accuracy=0.6789, interval=Interval(0.6789, 0.6, 0.7, 0.9, 20, "x"), chosen=True),
                    MethodRow(name="centroid", kind="frozen", accuracy=0.5557, difference=ahead, p=0.00012),
                ),
            )
        )
    ).text
    for words in ("68% right, most likely 60 to 73%", "guessing, 25%", "55.6%", "\u221212.3", "\u221220.1 to \u22124.6", "< .001"):
        assert words in said, words


def test_learners_of_different_folds_are_not_put_into_one_table() -> None:
    rows = [
        MethodRow(name="ridge", kind="frozen", accuracy=0.9, chosen=True, folds="5 folds, drawn 10 times"),
        MethodRow(name="tuned", kind="finetuned", accuracy=0.8, folds="4 folds, drawn twice"),
    ]
    both = Read(page(Findings(verdict=DONE, kept="frozen", methods=tuple(rows))))
    assert len([table for table in both.of("table") if table.get("class") == "methods"]) == 2
    for words in ("Folds: 5 folds, drawn 10 times.", "Folds: 4 folds, drawn twice.", "do not compare numbers across tables"):
        assert words in both.text, words
    one = Read(page(Findings(verdict=DONE, kept="frozen", methods=tuple(rows[:1]))))
    assert len([table for table in one.of("table") if table.get("class") == "methods"]) == 1
    assert "do not compare numbers across tables" not in one.text


def test_hostile_names_stay_text_everywhere(pages: dict[str, str]) -> None:
    read = Read(pages["hostile"])
    text = read.text
    assert text.count('<script>alert("1")</script> & </text></svg></title><img src=x onerror=alert(1)> $x^2$ {{ 7*7 }}') > 20
    assert "\u202e" not in pages["hostile"] and "\x1b" not in pages["hostile"]
    assert {a["src"][:5] for a in read.of("img")} == {"data:"}
    figures = re.findall(r"<svg.*?</svg>", pages["hostile"], re.S)
    assert len(figures) > 6 and any("&lt;script&gt;a" in figure for figure in figures)
    assert "$x^2$" in text and "49" not in Read(page(Findings(verdict=replace(DONE, sentence=HOSTILE), kept="frozen"))).text


def test_the_same_findings_give_the_same_page_whatever_matplotlib_is_told() -> None:
    import matplotlib as mpl

    findings = rich(painted(2), NAMES, SOURCES)
    first = page(findings)
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert page(findings) == first
        assert mpl.rcParams["font.size"] == 30
    assert page(rich(painted(2), NAMES, SOURCES)) == first


def test_text_of_figures_is_text_in_any_script(pages: dict[str, str]) -> None:
    """150 classes: the figures show a part and say so; names in other scripts are there to be searched for."""
    read = Read(pages["many"])
    assert "The 10 of 150 classes with the most mistakes" in read.text
    assert "10 least covered of 150" in read.text and "播放音乐" in read.text and "تشغيل الموسيقى" in read.text
    counts = np.eye(3) * 5 + 1
    drawn = re.search(r"<svg.*?</svg>", page(Findings(
        verdict=DONE, kept="frozen", confusion=Confusion(counts=counts, class_names=("猫", "собака", "حصان"))
    )), re.S)  # fmt: skip
    assert drawn and all(name in drawn[0] for name in ("猫", "собака", "حصان"))


def test_colours_follow_the_page(pages: dict[str, str]) -> None:
    """No colour of its own is left in a figure: light and dark come from the style sheet."""
    for figure in re.findall(r"<svg.*?</svg>", pages["rich"], re.S):
        assert not re.search(r"#[0-9a-f]{6}", figure)
        assert "var(--" in figure and "DejaVu" not in figure


def test_odd_data_is_borne() -> None:
    """Nothing chosen, one candidate, a single split, NaN everywhere, one step: a page all the same."""
    nan = float("nan")
    looked = Looked(name="a", source="pool", similarity=0.1, coverage=nan, gain=nan, taken=False, reason="unlike the target")
    made = page(
        Findings(
            verdict=replace(DONE, accuracy=Interval(0.5, nan, nan, 0.95, 1, "t"), guessing=0.25),
            kept="frozen",
            guard=judged("held-out classes of the sources", Interval(0, nan, nan, 0.95, 1, "t"), np.array([0.0])),
            decision="One task only.",
            selection=Selection(
                trace=(looked,), classes={"pool": ()}, similarity=Similarity(cosine=np.zeros((2, 0)), target=("x", "y"), chosen=())
            ),
            curves=(
                Curve(label="one", steps=np.array([1]), loss=np.array([2.0])),
                Curve(label="none", steps=np.zeros(0), loss=np.zeros(0)),
            ),
            confusion=Confusion(counts=np.full((2, 2), nan), class_names=("x", "y")),
            uncertain=(Doubt(name="row 1", given="", answered="x", probability=0.5),),
        )
    )
    said = Read(made).text
    assert "nan" not in said.lower() and "No source class was chosen" in said and "unlike the target" in said


def test_a_long_trace_is_cut_and_says_so() -> None:
    trace = tuple(
        Looked(name=f"task {i}", source=f"set {i // 40 % 12}", similarity=1 - i / 2e4, coverage=0.5, gain=0.0, taken=i % 40 == 0)
        for i in range(20_000)
    )
    made = page(Findings(verdict=DONE, kept="frozen", selection=Selection(trace=trace, classes={"set": ("a",)})))
    assert len(made) < 300_000
    assert "20,000 candidates looked at, 500 taken" in Read(made).text and "4 other sources" in Read(made).text


def test_a_hundred_thumbnails_stay_below_three_megabytes() -> None:
    from PIL import Image

    from fewtune.report.thumbnails import thumbnail

    random = np.random.default_rng(0)
    smooth = [Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((1280, 960)) for _ in range(4)]
    shown = [thumbnail(image) for image in smooth]
    rows = tuple(Doubt(name=f"{i}.jpg", given="a", answered="b", probability=0.4, shown=shown[i % 4]) for i in range(100))
    assert len(page(replace(rich(shown, NAMES, SOURCES), uncertain=rows)).encode()) < 3_000_000


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "report.html"
    write_page(path, replace(least(), title="caf\u00e9 \udcff"))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>") and "caf\u00e9" in text
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
