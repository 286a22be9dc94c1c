"""All that was seen of one host that labrun cannot log in to: what the reasons are found in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from labrun.inventory.model import Interface, Lab
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.causes import Shown
from labrun.tasks.collect.filter_causes import Passage
from labrun.tasks.collect.nic_causes import CAUSE, Finding
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.guest.facts.login import LoginState
from labrun.tasks.guest.reason import Reason
from labrun.tasks.out_of_band.attempt import Attempt, Outside

__all__ = ["Seen", "as_reasons"]


@dataclass(frozen=True)
class Seen:
    """All that was seen of one host: from inside, by the hypervisor, and of the login that failed."""

    lab: Lab
    attempt: Attempt
    capture: Capture
    login: LoginState
    outside: Outside = field(default_factory=Outside)

    @property
    def host(self) -> str:
        """Return the host's name."""
        return self.attempt.host

    @cached_property
    def shown(self) -> Shown:
        """Return the host's report alone, as the causes of lost packets are judged by."""
        return Shown(self.lab, {self.host: self.capture})

    @cached_property
    def nic(self) -> Interface | None:
        """Return the NIC that the login came by, None for a host on no network of the lab."""
        nics = self.lab.hosts[self.host].interfaces
        named = (nic for nic in nics if nic.name == self.attempt.nic)
        return next(named, nics[0] if nics else None)

    @cached_property
    def link(self) -> Link | None:
        """Return that NIC as the guest has it."""
        return self.capture.links.get(self.nic.mac) if self.nic is not None else None

    @property
    def device(self) -> str:
        """Return the NIC's name in the guest, or that of the lab file."""
        if self.link is not None:
            return self.link.name
        return f"the NIC on {self.nic.name}" if self.nic is not None else "the NIC"

    @property
    def has_impostor(self) -> bool:
        """Tell whether something else answers for the host's address, and so took the login."""
        return self.nic is not None and self.outside.answers not in ("", self.nic.mac)

    @property
    def inward(self) -> Passage | None:
        """Return the first packet of the login, at the host; None if an address is missing for it."""
        client, address = self.attempt.client, self.attempt.address
        if client is None or address is None or self.nic is None:
            return None
        came = self.nic.name
        return Passage(self.host, self.capture, client, address, came, None, port=self.attempt.port)

    @property
    def outward(self) -> Passage | None:
        """Return the host's answer to it."""
        client, address = self.attempt.client, self.attempt.address
        if client is None or address is None or self.nic is None:
            return None
        leaves = self.nic.name
        return Passage(self.host, self.capture, address, client, None, leaves, answers=self.attempt.port)


def as_reasons(findings: Iterator[Finding], instead: str = "") -> Iterator[Reason]:
    """Yield the findings as reasons; ``instead`` says what nftables drops, in place of "it"."""
    for found in findings:
        text = found.what.replace("nftables drops it", instead) if instead else found.what
        yield Reason(text, found.rank == CAUSE)
