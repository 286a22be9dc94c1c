"""The service managers, systemd and OpenRC: one small seam for the section ``services``.

Both are asked by one probe and answer in the words of `systemctl show`; what differs is how their services
are called and which commands change them.
"""

from __future__ import annotations

from typing import Protocol

from labrun.tasks.guest.facts.units import service_of, unit_of
from labrun.tasks.guest.shell import Facts, quote

__all__ = ["ServiceManager", "service_manager"]


class ServiceManager(Protocol):
    """How one service manager is spoken to; ``name`` is as the lab file has it."""

    kind: str
    """What it calls a service, for messages."""

    def unit(self, name: str) -> str:
        """Return the full name of a service."""
        ...

    def command(self, verb: str, name: str, option: str = "") -> str:
        """Return the command for ``enable``, ``disable``, ``start`` or ``stop``, quoted.

        Its status tells of a failure if ``option`` is `--quiet`, as for scripts.
        """
        ...


class _Systemd:
    kind = "unit"

    def unit(self, name: str) -> str:
        return unit_of(name)

    def command(self, verb: str, name: str, option: str = "") -> str:
        return " ".join(filter(None, ("systemctl", verb, option, quote(self.unit(name)))))


class _OpenRc:
    kind = "service"

    def unit(self, name: str) -> str:
        return service_of(name)

    def command(self, verb: str, name: str, option: str = "") -> str:
        word = quote(self.unit(name))
        if verb == "disable" and option:
            # What rc-update does; by itself, it fails for each runlevel that lacks the service.
            return f"rm -f /etc/runlevels/*/{word}"
        words = {
            "enable": ("rc-update", option, "add", word, "default"),
            "disable": ("rc-update", option, "--all", "delete", word),
        }.get(verb, ("rc-service", option, word, verb))
        return " ".join(filter(None, words))


_SYSTEMD, _OPENRC = _Systemd(), _OpenRc()


def service_manager(facts: Facts | None) -> ServiceManager:
    """Return who manages a guest's services; systemd where nothing is known of it."""
    return _OPENRC if facts is not None and facts.word("services-by") == "openrc" else _SYSTEMD
