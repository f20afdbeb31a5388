"""Templates: plain sentences around a class name, for backbones that read texts."""

from __future__ import annotations

from fewtune.errors import InputError

# Our own sentences, from general to particular: what the picture is, how it was taken, what may be wrong with it. Class vectors
# are averaged over them, so that no single wording decides (the idea: Radford et al., "Learning Transferable Visual Models From
# Natural Language Supervision", 2021, section 3.1.4; none of the sentences is taken from a published list beyond the first).
PHOTO_TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "a picture that shows a {}.",
    "a close view of a {}.",
    "a {} seen from far away.",
    "a dark, blurred photo of a {}.",
    "a drawing of a {}.",
    "one {} among other things.",
)


def fill(template: str, class_name: str) -> str:
    """The template with its one `{}` replaced by the class name; other braces stay as they are.

    Raises InputError unless the template holds `{}` exactly once.
    """
    found = template.count("{}")
    if found != 1:
        raise InputError(f"the template {template!r} holds {{}} {found} times: expected once, as in 'a photo of a {{}}.'.")
    return template.replace("{}", class_name)


def readable(class_name: str) -> str:
    """The class name as words: underscores become spaces, and several blanks become one."""
    return " ".join(class_name.replace("_", " ").split())
