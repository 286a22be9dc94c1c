"""Make valid names of what folders and other tools are called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

__all__ = ["RESERVED", "lab_name", "label", "unique"]

RESERVED: Final = frozenset({"hypervisor", "localhost", "auto", "none", "default", "host", "router", "dhcp"})
"""Names that a host, a network or the lab cannot have, or that would read as something else."""
_LONGEST_LAB: Final = 31
_LONGEST: Final = 40


def label(text: str, fallback: str) -> str:
    """Return a text as lower-case letters, digits and inner dashes, with a letter; at most 40 characters.

    Accents are dropped. ``fallback`` stands for a text without anything usable, and before one of digits or a
    reserved word.
    """
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode("ascii").lower()
    word = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].strip("-")
    if not word:
        return fallback
    if not re.search("[a-z]", word):
        word = f"{fallback}-{word}"
    return f"{fallback}-{word}" if word in RESERVED else word


def lab_name(text: str, taken: Collection[str] = ()) -> str:
    """Return a text as the name of a lab: as above, beginning with a letter, at most 31 characters.

    A lab is a group of its hosts, so it cannot be called like a network, a group or a role: ``taken``.
    """
    word = label(text, "lab")
    if not word[0].isalpha():
        word = f"lab-{word}"
    word = word[:_LONGEST_LAB].strip("-")
    return (
        word if word not in taken and word not in RESERVED else f"{word[: _LONGEST_LAB - 4].strip('-')}-lab"
    )


def unique(name: str, taken: Collection[str]) -> str:
    """Return the name, or the name with the first number that makes it one of its own."""
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"
