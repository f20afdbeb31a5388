"""Pages of the site that are made while it is built: one for each method, from its docstring and signature."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fewtune
from fewtune.recipes.described import Described, described

ROOMS = {  # the file of a method: what its methods have in common
    "frozen": "The backbone stays as it is",
    "image text": "Between class names and labels",
    "finetuning": "One network is finetuned",
    "episodic": "Finetuned on many episodes",
    "meta": "Gradient-based meta-learning",
    "source training": "Other ways to learn from a source",
    "sharing": "Several label columns",
}


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each method."""
    from mkdocs.structure.files import File

    figures = {page.stem: page.read_text(encoding="utf-8") for page in sorted((Path(config["docs_dir"]) / "reproductions").glob("*.md"))}
    for method in described():
        files.append(File.generated(config, f"methods/{method.name}.md", content="".join(_page(method, figures))))
    return files


def on_config(config: Any) -> Any:
    """The pages of methods under their rooms in the navigation."""
    rooms: dict[str, list[dict[str, str]]] = {}
    for method in described():
        rooms.setdefault(ROOMS.get(method.room, method.room.capitalize()), []).append({method.name: f"methods/{method.name}.md"})
    whole = ["methods/index.md", *({room: pages} for room, pages in rooms.items())]
    config["nav"] = [{"Methods": whole} if "Methods" in entry else entry for entry in config["nav"]]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The list of methods where a page asks for it."""
    return markdown.replace("<!-- methods -->", "".join(_index())) if "<!-- methods -->" in markdown else markdown


def _index() -> Iterator[str]:
    every = described()
    rooms = list(dict.fromkeys(method.room for method in every))
    for room in rooms:
        yield f"\n## {ROOMS.get(room, room.capitalize())}\n\n| method | what it does | reference |\n|---|---|---|\n"
        for method in every:
            if method.room == room:
                line = method.line.replace("|", "\\|")
                yield f"| [`{method.name}`]({method.name}.md) | {line} | {method.reference.partition(' (')[0].replace('|', ' ')} |\n"


def _page(method: Described, figures: dict[str, str]) -> Iterator[str]:
    """The docstring in full, the options, the example as it runs, what it expands to and where it was measured."""
    yield f"# {method.name}\n\n"
    for paragraph in method.text.split("\n\n"):
        block = paragraph if paragraph.startswith("    ") else _marked(paragraph)
        yield f"{block}\n\n"
    yield f"## Options\n\n`--method '{method.name}(...)'`, in Python `fewtune.recipes.{method.name}(...)`.\n\n"
    if method.options:
        yield "| option | type | default |\n|---|---|---|\n"
        for option in method.options:
            default = "must be given" if option.default is None else _code(option.default)
            yield f"| `{option.name}` | {_code(option.type)} | {default} |\n"
    else:
        yield "None.\n"
    if example := _example(method.name):
        yield f"\n## Example\n\nRun by the tests.\n\n```pycon\n{example}\n```\n"
    yield "\n## Our figures\n\n"
    found = list(_measured(method.name, figures))
    yield "".join(found) if found else "No figure of ours compares this method yet.\n"


def _code(said: str) -> str:
    """Code in a cell of a table, whose bars are no borders."""
    return f"<code>{html.escape(said).replace('|', '&#124;')}</code>"


def _marked(paragraph: str) -> str:
    """A paragraph whose words in angle brackets and stars are text, not marks."""
    return re.sub(r"(?<!`)([<*])(?![^`]*`)", r"\\\1", paragraph)


def _example(name: str) -> str:
    lines = (inspect.getdoc(getattr(fewtune.recipes, name, None)) or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(">>>")]
    return "\n".join(lines[starts[0] :]).strip() if starts else ""


def _measured(name: str, figures: dict[str, str]) -> Iterator[str]:
    """A link to each section of the reproductions that names the method."""
    for page, text in figures.items():
        sections = re.split(r"^(#{1,3} .*)$", text, flags=re.MULTILINE)
        for heading, body in zip(sections[1::2], sections[2::2], strict=True):
            if re.search(rf"`{name}[`(]|\| {name} ", body):
                title = heading.lstrip("# ")
                yield f"- [{title}](../reproductions/{page}.md#{_anchor(title)})\n"


def _anchor(title: str) -> str:
    """The anchor that Python-Markdown makes of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())
