"""The nmcli commands that a person would type for a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labrun.secrets import MASK, is_secret
from labrun.tasks.configure.nm_profiles import profile_id
from labrun.tasks.guest.keyfile import Sections, properties
from labrun.tasks.guest.shell import quote

__all__ = ["change_profile", "explain_profile"]

_IMPLIED = frozenset({"connection.id", "connection.type"})
_WIDTH = 100


def explain_profile(profile: Mapping[str, Any]) -> Iterator[str]:
    """Yield the commands that create the profile and activate it."""
    name = profile_id(profile["network"])
    settings = properties(profile["settings"]) | dict(profile["properties"])
    # On an existing machine without a MAC in the file, only the machine can identify the NIC.
    device = "'*'" if "ethernet.mac-address" in settings else "NIC"
    begin = f"nmcli connection add type ethernet ifname {device} con-name {quote(name)}"
    made = settings.pop("connection.interface-name", None)
    if made is not None:
        # nmcli asks for a parent; the file has none, and the NIC below is found by its MAC.
        begin = f"nmcli connection add type vlan ifname {quote(made)} dev lo con-name {quote(name)}"
        settings = {"vlan.id": settings.pop("vlan.id"), **settings, "vlan.parent": ""}
    yield _wrapped(begin, _pairs(settings))
    yield f"nmcli connection up {quote(name)}"


def change_profile(nic: str, wanted: Sections, stored: Sections, active_on: str | None) -> Iterator[str]:
    """Yield the commands that turn labrun's ``stored`` profile into the wanted one, and activate it.

    ``active_on`` is the NIC on which it is already active, None if there is none.
    """
    name = quote(profile_id(nic))
    settings = properties(wanted)
    # Properties without a value return to their defaults.
    gone = {key: "" for key in properties(stored) if key not in settings}
    yield _wrapped(f"nmcli connection modify {name}", [*_pairs(settings), *_pairs(gone)])
    yield f"nmcli connection up {name}" if active_on is None else f"nmcli device reapply {quote(active_on)}"


def _pairs(settings: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (key.replace("ethernet.", "802-3-ethernet.", 1), MASK if value and is_secret(key) else value)
        for key, value in settings.items()
        if key not in _IMPLIED
    ]


def _wrapped(begin: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return one command, wrapped over as many lines as a terminal needs."""
    lines = [begin]
    for pair in pairs:
        words = " ".join(quote(word) for word in pair)
        if len(lines[-1]) + len(words) > _WIDTH:
            lines[-1] += " \\"
            lines.append(f"   {words}")
        else:
            lines[-1] += f" {words}"
    return "\n ".join(lines)
