"""The images that labrun builds by itself: their names, their release of Debian, and what they differ in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["RECIPES", "STORED_RECIPES", "Recipe", "RecipeName"]

RecipeName = Literal[
    "debian-12",
    "debian-12:networkd",
    "debian-12:netplan",
    "debian-12:ifupdown",
    "debian-12:openrc",
    "debian-13",
]
"""What a lab file may have built."""

_BASE: Final = "debian-12"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image that can be built.

    ``name`` is as people write it, RELEASE or RELEASE:VARIANT. ``suite`` is Debian's name of the release.
    ``layers`` are folders of ``templates/images``; the files of a later one are added to the earlier ones'.
    """

    name: str
    suite: str
    layers: tuple[str, ...]

    @property
    def stored(self) -> str:
        """Return the image's name in the store and in lab files; a colon would end a path of an overlay."""
        return self.name.replace(":", "-")


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("debian-12", "bookworm", (_BASE,)),
            Recipe("debian-12:networkd", "bookworm", (_BASE, "networkd")),
            Recipe("debian-12:netplan", "bookworm", (_BASE, "networkd", "netplan")),
            Recipe("debian-12:ifupdown", "bookworm", (_BASE, "ifupdown")),
            Recipe("debian-12:openrc", "bookworm", (_BASE, "ifupdown", "openrc")),
            Recipe("debian-13", "trixie", (_BASE, "debian-13")),
        )
    }
)
"""All of them by name."""

STORED_RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {recipe.stored: recipe for recipe in RECIPES.values()}
)
"""All of them by the name of their image."""
