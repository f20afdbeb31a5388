"""matplotlib's SVG, changed so that it can be part of a page.

Several figures share one page, so ids that are referred to get a prefix and the others go; so does the style sheet, which would reach the
whole page. Colours become the page's variables, so that a figure follows light and dark; coordinates keep two decimals. Text stays
text: searchable, in the page's font, and whatever a user's class name holds, it is parsed as a tree and never as a string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"font-family:[^;]*;?|font:[^;]*;?")
_SHORTHAND = re.compile(r"font:([^;]*?)([\d.]+)px")  # what older matplotlib writes: font: bold 10px 'DejaVu Sans'


def inline(content: bytes, *, prefix: str, label: str, colours: Mapping[str, str]) -> str:
    """One `<svg>` element for a page. `prefix`: before every id; `label`: what a screen reader says; `colours`: "#rrggbb" -> CSS value."""
    root = ElementTree.fromstring(content)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    used = _references(root)
    names = {old: f"{prefix}-{i}" for i, old in enumerate(sorted(used))}
    for element in root.iter():
        element.tail = None
        if element.tag != f"{{{SVG}}}text":
            element.text = None
        _mend(element, names, colours)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    _prune(root)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> set[str]:
    """The ids that are referred to inside the figure."""
    found = {element.attrib[LINK][1:] for element in root.iter() if LINK in element.attrib}
    for element in root.iter():
        for value in element.attrib.values():
            found.update(re.findall(r"url\(#([^)]*)\)", value))
    return found


def _mend(element: ElementTree.Element, names: Mapping[str, str], colours: Mapping[str, str]) -> None:
    attributes = element.attrib
    if (name := attributes.pop("id", None)) in names and name is not None:
        attributes["id"] = names[name]
    if (link := attributes.pop(LINK, None)) is not None:
        attributes["href"] = f"#{names[link[1:]]}"
    for key, value in list(attributes.items()):
        if key in ("d", "x", "y", "transform", "points"):
            attributes[key] = " ".join(_NUMBER.sub(lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), value).split())
        elif "url(#" in value:
            attributes[key] = re.sub(r"url\(#([^)]*)\)", lambda m: f"url(#{names[m[1]]})", value)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "style" in attributes:
        brief = _SHORTHAND.search(attributes["style"])
        style = _FONT.sub("", attributes["style"])
        if brief:
            style += f"; font-size: {brief[2]}px" + ("; font-weight: bold" if "bold" in brief[1] or "700" in brief[1] else "")
        for colour, value in colours.items():
            style = style.replace(colour, value)
        attributes["style"] = "; ".join(part.strip() for part in style.split(";") if part.strip())


def _prune(element: ElementTree.Element) -> None:
    """Remove empty groups, and groups without attributes around a single element."""
    for place, child in enumerate(list(element)):
        _prune(child)
        while child.tag == f"{{{SVG}}}g" and not child.attrib and len(child) == 1:
            child = child[0]
        element[place] = child
    for child in list(element):
        if child.tag in (f"{{{SVG}}}g", f"{{{SVG}}}defs") and not len(child) and "id" not in child.attrib:
            element.remove(child)
