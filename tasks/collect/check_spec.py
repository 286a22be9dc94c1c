"""One check as a host runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from labrun.inventory.check_model import Match
from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.check_instance import CheckInstance
from labrun.inventory.topology.checks import instances_of, wait_seconds

__all__ = ["CheckSpec", "check_specs"]


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """What is tried, and the expected result.

    ``to`` is the host that it is about, ``address`` the target address; both are None if the check is about
    the host it runs on. ``wait`` is for how many seconds it may be retried, ``via`` are, in order, the
    addresses of the nodes that a trace must pass. The rest is as declared in the file.
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
        """Return a check as it runs on one host."""
        check = trial.check
        return cls(
            name=trial.name,
            kind=check.kind,
            target=check.target,
            to=trial.target,
            address=trial.address,
            expect=check.expect,
            wait=wait_seconds(check),
            # Of a whole network one of them may be the source itself.
            via=tuple(_addresses(lab, name) for name in check.via if not _is_source(lab, trial.source, name)),
            values=check.values,
            match=check.match,
            status=check.status,
            answer=check.answer,
        )


def check_specs(lab: Lab, host: str) -> list[CheckSpec]:
    """Return the checks of a host; those with an unknown target address are left out."""
    return [CheckSpec.of(lab, trial) for trial in instances_of(lab, host) if _can_be_tried(trial)]


def _can_be_tried(trial: CheckInstance) -> bool:
    return trial.check.to is None or trial.address is not None


def _is_source(lab: Lab, source: str, via: str) -> bool:
    return via == source or (via not in lab.hosts and _addresses(lab, via)[0] in _addresses(lab, source))


def _addresses(lab: Lab, name: str) -> tuple[str, ...]:
    if name not in lab.hosts:
        return (str(ip_address(name)),)
    nics = lab.hosts[name].interfaces
    return tuple(str(given.ip) for nic in nics for given in nic.addresses)
