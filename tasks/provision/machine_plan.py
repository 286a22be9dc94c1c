"""The plan for each machine: the difference between the file and libvirt, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.tasks.provision.driver import ObservedMachine

__all__ = ["MachinePlan", "plan_machine"]

# A machine is created from these; changing them requires a new machine.
_FOR_LIFE = frozenset({"driver", "image", "firmware"})


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """The plan for one machine.

    ``action`` is ``none``, ``create``, ``start``, ``update`` (in place), ``recreate`` or ``remove``;
    ``start`` tells whether it has to be started as well; ``changes`` maps each setting that differs to
    (now, wanted).
    """

    host: str
    action: str
    start: bool = False
    changes: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    def diff(self) -> str | None:
        """Return the changes as ``-``/``+`` lines, None if there are none."""
        lines = []
        for key, (now, wanted) in self.changes.items():
            lines += [f"- {key}: {now}"] if now else []
            lines += [f"+ {key}: {wanted}"] if wanted else []
        return "\n".join(lines) or None


def plan_machine(
    host: str,
    wanted: Mapping[str, str] | None,
    observed: ObservedMachine | None,
    *,
    recreate: bool = False,
) -> MachinePlan:
    """Return the difference for one machine; ``wanted`` None means that the file no longer has it."""
    if wanted is None:
        return MachinePlan(host, "remove" if observed else "none")
    if observed is None:
        changes = {key: ("", value) for key, value in wanted.items() if value}
        return MachinePlan(host, "create", start=True, changes=MappingProxyType(changes))
    changes = {
        key: (now, value)
        for key, value in wanted.items()
        for now in (_now(observed, key, value),)
        if now != value
    }
    is_down = observed.state != "running"
    frozen = MappingProxyType(changes)
    if recreate or set(changes) & _FOR_LIFE:
        return MachinePlan(host, "recreate", start=True, changes=frozen)
    if changes:
        return MachinePlan(host, "update", start=is_down, changes=frozen)
    return MachinePlan(host, "start" if is_down else "none", start=is_down)


def _now(observed: ObservedMachine, key: str, wanted: str) -> str:
    """Return the value at the next start or, if that is as wanted, the running machine's."""
    defined = observed.settings.get(key, "")
    return defined if defined != wanted else observed.live.get(key, defined)
