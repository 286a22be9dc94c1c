"""Completions of what commands take: faults, sections, pairs, images, labs, snapshots and forks.

Each is for click's ``shell_complete``, and offers nothing where something cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labrun.errors import LabrunError
from labrun.runner.cli.selection import lab_for_completion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "complete_catalogue",
    "complete_fault",
    "complete_image",
    "complete_lab_name",
    "complete_pair",
    "complete_recipe",
    "complete_sections",
    "complete_snapshot",
]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def complete_fault(_ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Offer the faults of the catalogue with their levels."""
    from click.shell_completion import CompletionItem

    from labrun.tasks.faults.catalogue import FAULTS
    from labrun.tasks.faults.levels import level_of

    return [
        CompletionItem(name, help=level_of(fault).value)
        for name, fault in FAULTS.items()
        if name.startswith(incomplete)
    ]


def complete_sections(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the sections of ``configure --only A,B``, each once."""
    from labrun.tasks.configure.resources import SECTIONS

    head, comma, last = incomplete.rpartition(",")
    taken = set(head.split(","))
    return [head + comma + name for name in SECTIONS if name.startswith(last) and name not in taken]


def complete_pair(ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer ``A:``, and after the colon every other host."""
    lab = lab_for_completion(ctx)
    if lab is None:
        return []
    source, colon, _ = incomplete.partition(":")
    if not colon:
        return _beginning(incomplete, (f"{name}:" for name in lab.hosts))
    return _beginning(incomplete, (f"{source}:{name}" for name in lab.hosts if name != source))


def complete_recipe(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the images that can be built."""
    from labrun.inventory.recipes import RECIPES

    return _beginning(incomplete, RECIPES)


def complete_catalogue(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the images that can be pulled by name."""
    from labrun.tasks.provision.image_catalogue import CATALOGUE

    return _beginning(incomplete, CATALOGUE)


def complete_image(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the images that are here."""
    from labrun.tasks.provision.image_store import list_images

    try:
        return _beginning(incomplete, [image.name for image in list_images()])
    except (LabrunError, OSError):
        return []


def complete_lab_name(ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the labs that have keys here or a history: those of which something may be left."""
    from labrun.runner.cli.options import invocation_of
    from labrun.runner.history.paths import labs_known

    try:
        names = labs_known(invocation_of(ctx))
    except (LabrunError, OSError):
        return []
    return sorted(_beginning(incomplete, names))


def complete_snapshot(ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Offer the lab's snapshots."""
    from labrun.tasks.provision.snapshot_store import SNAPSHOTS

    lab = lab_for_completion(ctx)
    return _beginning(incomplete, [each.name for each in SNAPSHOTS.of(lab.name)]) if lab else []
