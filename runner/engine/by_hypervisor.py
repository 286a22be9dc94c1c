"""What a command asks of each hypervisor of a lab: one that cannot be asked leaves its rows unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError
from labrun.outcome import Outcome, Status
from labrun.tasks.provision.nic_ends import NicEnd, nic_ends

if TYPE_CHECKING:
    from labrun.runner.engine.session import Session

__all__ = ["Ends", "ends_of", "reason_of", "uri_of"]


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of NICs; ``unknown`` has those of hypervisors that cannot be asked, with the reason."""

    found: tuple[NicEnd, ...]
    unknown: Mapping[tuple[str, str], str]

    def unknown_rows(self, section: str) -> list[Outcome]:
        """Return a row for each NIC of which nothing is known."""
        return [
            Outcome(host, section, nic, Status.UNKNOWN, why=why) for (host, nic), why in self.unknown.items()
        ]


def ends_of(
    session: Session, nics: Iterable[tuple[str, str]], *, does: str, only_running: bool = False
) -> Ends:
    """Return the ends of NICs, given as (host, NIC), on the hypervisors that the hosts are on.

    Raises as :func:`labrun.tasks.provision.nic_ends.nic_ends`; in a lab over several hypervisors a
    HypervisorError of one of them is the reason why its NICs are unknown.
    """
    wanted = list(nics)
    if session.span is None:
        ends = nic_ends(session.lab, session.uri, wanted, does=does, only_running=only_running)
        return Ends(ends, {})
    lost = session.lost()
    unknown = {nic: lost[nic[0]] for nic in wanted if nic[0] in lost}
    placed = {host: member.uri for member in session.members() for host in member.part.hosts}
    by_uri: dict[str, list[tuple[str, str]]] = {}
    for nic in wanted:
        if nic not in unknown:
            by_uri.setdefault(placed.get(nic[0], session.uri), []).append(nic)
    found: list[NicEnd] = []
    for uri, here in by_uri.items():
        try:
            found += nic_ends(session.lab, uri, here, does=does, only_running=only_running)
        except HypervisorError as error:
            unknown |= dict.fromkeys(here, reason_of(error))
    order = {nic: number for number, nic in enumerate(wanted)}
    found.sort(key=lambda end: order[end.host, end.nic])
    return Ends(tuple(found), unknown)


def uri_of(session: Session, host: str) -> str:
    """Return the URI of the hypervisor that a host is on. Raises HypervisorError if that one is silent."""
    if why := session.lost().get(host):
        raise HypervisorError(why, host=host, step="hypervisors")
    return next((each.uri for each in session.members() if host in each.part.hosts), session.uri)


def reason_of(error: HypervisorError) -> str:
    """Return what an error says, in one line."""
    return f"{error.reason} ({error.hint})" if error.hint else error.reason
