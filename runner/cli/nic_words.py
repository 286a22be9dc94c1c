"""The words ``HOST:NIC`` on a command line: which NICs of the lab they mean, and their completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labrun.errors import UsageError
from labrun.inventory.file.problems import did_you_mean
from labrun.runner.cli.selection import lab_for_completion

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

__all__ = ["complete_nic", "leading_nics", "named_nics"]

_OF_FILTERS = frozenset(
    (
        *("and", "arp", "broadcast", "dst", "ether", "gateway", "greater", "host", "icmp", "icmp6", "ip"),
        *("ip6", "less", "multicast", "net", "not", "or", "port", "portrange", "proto", "src", "tcp", "udp"),
        "vlan",
    )
)
"""Words that a packet filter begins with: a host of that name is meant only as ``HOST:NIC``."""


def named_nics(lab: Lab, word: str) -> tuple[tuple[str, str], ...]:
    """Return the host and name of each NIC that ``HOST`` or ``HOST:NIC`` names.

    Raises UsageError for one that the lab does not have.
    """
    name, colon, nic = word.partition(":")
    if name not in lab.hosts:
        hint = did_you_mean(name, lab.hosts) or f"the lab has {', '.join(lab.hosts)}"
        raise UsageError(f'unknown host "{name}"', step=word, hint=hint)
    nics = tuple((name, each.name) for each in lab.hosts[name].interfaces)
    if not colon:
        return nics
    if (name, nic) not in nics:
        own = [each for _, each in nics]
        hint = did_you_mean(nic, own) or (f"it is on {', '.join(own)}" if own else "it is not on any network")
        raise UsageError(f'{name} has no NIC on "{nic}"', step=word, hint=hint)
    return ((name, nic),)


def leading_nics(lab: Lab, words: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return the NICs that the first words name, each once, and the words after them, a packet filter.

    Raises UsageError.
    """
    found: dict[tuple[str, str], None] = {}
    for number, word in enumerate(words):
        if number and not _is_nic(lab, word):
            return tuple(found), tuple(words[number:])
        found.update(dict.fromkeys(named_nics(lab, word)))
    return tuple(found), ()


def _is_nic(lab: Lab, word: str) -> bool:
    # No primitive of a filter begins with a word that has a colon in it.
    if ":" in word and " " not in word:
        return True
    return word in lab.hosts and word not in _OF_FILTERS


def complete_nic(ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Return completions of ``HOST:NIC``, for click's ``shell_complete``: hosts, then their NICs."""
    lab = lab_for_completion(ctx)
    if lab is None:
        return []
    if ":" not in incomplete:
        return [name for name in lab.hosts if name.startswith(incomplete)] + [
            f"{name}:{nic.name}"
            for name, host in lab.hosts.items()
            if name == incomplete
            for nic in host.interfaces
        ]
    named = [f"{name}:{nic.name}" for name, host in lab.hosts.items() for nic in host.interfaces]
    return [word for word in dict.fromkeys(named) if word.startswith(incomplete)]
