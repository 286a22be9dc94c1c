"""One check as a host is asked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from labrun.inventory.model import Address, Lab, Match
from labrun.inventory.topology.check_instance import CheckInstance
from labrun.inventory.topology.checks import instances_of, wait_seconds

__all__ = ["CheckSpec", "check_specs"]


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """What is tried, and what is expected of it.

    ``to`` is the host that it is about, ``address`` what is tried; both are None where the check is about
    its own host. ``wait`` is how many seconds it may be tried again, ``via`` are, in order, the
    addresses of those that a trace must pass. The rest is as the file declares it.
    """

    name: str
    kind: str
    target: str
    to: str | None
    address: Address | None
    expect: str
    wait: int
    via: tuple[tuple[str, ...], ...]
    values: Mapping[str, str]
    match: Match | None
    status: int | None
    answer: Address | None

    @classmethod
    def of(cls, lab: Lab, trial: CheckInstance) -> CheckSpec:
        """Return what a check comes to on one host."""
        check = trial.check
        return cls(
            name=trial.name,
            kind=check.kind,
            target=check.target,
            to=trial.target,
            address=trial.address,
            expect=check.expect,
            wait=wait_seconds(check),
            via=tuple(_addresses(lab, name) for name in check.via),
            values=check.values,
            match=check.match,
            status=check.status,
            answer=check.answer,
        )


def check_specs(lab: Lab, host: str) -> list[CheckSpec]:
    """Return what a host tries; what goes to an address that nobody knows is left out."""
    return [CheckSpec.of(lab, trial) for trial in instances_of(lab, host) if _can_be_tried(trial)]


def _can_be_tried(trial: CheckInstance) -> bool:
    return trial.check.to is None or trial.address is not None


def _addresses(lab: Lab, name: str) -> tuple[str, ...]:
    if name not in lab.hosts:
        return (str(ip_address(name)),)
    nics = lab.hosts[name].interfaces
    return tuple(str(given.ip) for nic in nics for given in (nic.ipv4, nic.ipv6) if given is not None)
