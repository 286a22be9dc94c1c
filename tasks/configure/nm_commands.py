"""The nmcli commands that a person would type for a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labrun.secrets import MASK, is_secret
from labrun.tasks.configure.keyfile import properties
from labrun.tasks.configure.nm_profiles import profile_id
from labrun.tasks.configure.nm_state import Device
from labrun.tasks.configure.shell import quote

__all__ = ["explain_profile"]

_IMPLIED = frozenset({"connection.id", "connection.type"})
_WIDTH = 100


def explain_profile(profile: Mapping[str, Any], device: Device | None) -> Iterator[str]:
    """Yield the commands that make the profile and bring it up, or change the one ``device`` runs on."""
    name = profile_id(profile["network"])
    settings = properties(profile["settings"]) | dict(profile["properties"])
    pairs = [
        (key.replace("ethernet.", "802-3-ethernet.", 1), MASK if is_secret(key) else value)
        for key, value in settings.items()
        if key not in _IMPLIED
    ]
    if device is None:
        # Of an existing machine without a MAC in the file, only the machine itself can tell the NIC.
        nic = "'*'" if "ethernet.mac-address" in settings else "NIC"
        begin = f"nmcli connection add type ethernet ifname {nic} con-name {quote(name)}"
        yield _wrapped(begin, pairs)
        yield f"nmcli connection up {quote(name)}"
        return
    if device.profile_id != name:
        pairs = [("connection.id", name), *pairs]
    yield _wrapped(f"nmcli connection modify {quote(device.profile_id)}", pairs)
    yield f"nmcli device reapply {quote(device.interface)}"


def _wrapped(begin: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return one command over as many lines as a terminal needs."""
    lines = [begin]
    for pair in pairs:
        words = " ".join(quote(word) for word in pair)
        if len(lines[-1]) + len(words) > _WIDTH:
            lines[-1] += " \\"
            lines.append(f"   {words}")
        else:
            lines[-1] += f" {words}"
    return "\n ".join(lines)
