"""Profiles that NetworkManager ignores, because others could have read or written them."""

from __future__ import annotations

from shlex import quote

from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["FOLDER", "LOOSE", "ignored", "is_loose", "loose_profiles"]

FOLDER = "/etc/NetworkManager/system-connections"

LOOSE = Probe(script=assigned({"profiles": FOLDER}) + guest_script("nm_loose"))
"""Names labrun's profiles with other permissions than NetworkManager wants."""


def is_loose(path: str, facts: Facts) -> bool:
    """Tell whether NetworkManager ignores this file as soon as it reads it again."""
    return path in loose_profiles(facts)


def loose_profiles(facts: Facts) -> tuple[str, ...]:
    """Return the files that it ignores."""
    return tuple(facts.commands.get("loose", Captured("", 0)).text.splitlines())


def ignored(path: str, facts: Facts) -> str | None:
    """Return that NetworkManager ignores this file, and what to do about it; None if it does not."""
    if not is_loose(path, facts):
        return None
    file = quote(path)
    return (
        f"NetworkManager ignores {path}, which is not root's alone: `chown root: {file}; chmod 600 {file};"
        " nmcli connection reload`"
    )
