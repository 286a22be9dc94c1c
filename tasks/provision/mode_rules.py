"""The firewall rules with which libvirt makes a network's mode, each with what it does in words."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labrun.errors import HypervisorError
from labrun.tasks.provision.hypervisor_shell import run_as_root

__all__ = ["ModeRule", "explained", "read_rules"]

_SECONDS = 20.0
_SAVERS = ("iptables-save", "ip6tables-save")
_SERVICES = {"53": "DNS", "67": "DHCP", "68": "DHCP", "547": "DHCPv6", "546": "DHCPv6"}


@dataclass(frozen=True, slots=True)
class ModeRule:
    """A rule as its program lists it (``iptables -t TABLE`` in front), and what it does."""

    program: str
    table: str
    rule: str
    does: str


def read_rules(far: str = "") -> tuple[tuple[str, str], ...]:
    """Return each program that lists rules, and its listing, of this thread's network.

    ``far`` is the URI of another machine whose rules are meant instead. Root only. A newer libvirt keeps
    its rules in a table of nftables. Raises HypervisorError.
    """
    found = []
    for program in _SAVERS:
        found.append((program.removesuffix("-save"), _listing(far, [program])))
    for family in ("ip", "ip6"):
        found.append(
            ("nft", _listing(far, ["nft", "list", "table", family, "libvirt_network"], optional=True))
        )
    return tuple(found)


def _listing(far: str, command: Sequence[str], *, optional: bool = False) -> str:
    if far:
        rest = " 2>/dev/null || true" if optional else ""
        return run_as_root(far, f"{shlex.join(command)}{rest}\n", "rules")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if optional:
            return ""
        raise HypervisorError(f"cannot run {command[0]}: {error}", step="rules") from error
    if done.returncode != 0 and not optional:
        raise HypervisorError(
            f"{command[0]}: {done.stderr.strip()}", step="rules", hint="only root may list rules"
        )
    return done.stdout if done.returncode == 0 else ""


def explained(listings: Sequence[tuple[str, str]], bridge: str, subnets: Sequence[str]) -> Iterator[ModeRule]:
    """Yield libvirt's rules for a network, by its bridge and its subnets (``10.1.0.0/24``)."""
    names = {bridge, *subnets}
    for program, listing in listings:
        table = ""
        for line in listing.splitlines():
            if line.startswith("*"):
                table = line[1:]
            words = shlex.split(line.strip()) if names & set(line.replace('"', " ").split()) else []
            if program == "nft" and words:
                yield ModeRule(program, "libvirt_network", line.strip(), _nft_does(words))
            elif len(words) > 1 and words[0] == "-A" and words[1].startswith("LIBVIRT_"):
                yield ModeRule(program, table, " ".join(words), _does(words[1], words, bridge))


def _does(chain: str, words: Sequence[str], bridge: str) -> str:
    values = dict(pairwise(words))
    target, service = values.get("-j", ""), _SERVICES.get(values.get("--dport", ""), "")
    if chain in ("LIBVIRT_INP", "LIBVIRT_OUT") and service:
        permission = (
            "guests may ask this machine's" if chain == "LIBVIRT_INP" else "this machine may answer as"
        )
        return f"{permission} {service} ({values.get('-p', '')})"
    if chain == "LIBVIRT_FWX":
        return "guests of this network reach each other where bridged frames pass the filter"
    if chain == "LIBVIRT_FWO":
        return (
            "guests may send beyond this machine"
            if target == "ACCEPT"
            else "nothing else is forwarded beyond it"
        )
    if chain == "LIBVIRT_FWI" and target == "ACCEPT":
        return "only answers come in" if "--ctstate" in values else "others may connect to the guests"
    if chain == "LIBVIRT_FWI":
        return "nothing else comes in"
    return _of_translation(target, values)


def _of_translation(target: str, values: dict[str, str]) -> str:
    if target == "MASQUERADE":
        ports = f" and a port of {values['--to-ports']}" if "--to-ports" in values else ""
        return f"{values.get('-p', 'anything')} to elsewhere leaves with this machine's address{ports}"
    if target == "RETURN":
        return "multicast and broadcast keep their address"
    if target == "CHECKSUM":
        return "DHCP answers get the checksum that some clients require"
    return "a libvirt rule that labrun does not know"


def _nft_does(words: Sequence[str]) -> str:
    if "masquerade" in words:
        return "leaves with this machine's address"
    if "return" in words:
        return "multicast and broadcast keep their address"
    if "reject" in words:
        return "nothing else passes"
    if "established,related" in words or "related,established" in words:
        return "only answers come in"
    return (
        "guests may send beyond this machine"
        if "iif" in words or "iifname" in words
        else "others may connect in"
    )
