"""Checks of the packet filter: what drops the packets that this machine forwards for its guests."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Mode
from labrun.outcome import Status
from labrun.tasks.doctor.model import Facts, Finding, ForwardChain

__all__ = ["check_firewall"]

_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}
_NFTABLES_SINCE = (10, 4, 0)  # libvirt has rules in a table of its own from then on
_FORWARDED = (Mode.NAT, Mode.ROUTE, Mode.OPEN)


def check_firewall(facts: Facts) -> Iterator[Finding]:
    """Judge each chain that drops forwarded packets: a packet must get past all of them."""
    if facts.forward is None:
        yield Finding("firewall", Status.SKIPPED, f"the packet filter was not read: {facts.forward_unread}")
        return
    dropping = [chain for chain in facts.forward if not chain.lets_bridges_pass]
    if not dropping:
        yield Finding("firewall", Status.OK, "the packet filter does not block forwarded traffic")
    for chain in dropping:
        yield _judged(facts, chain)


def _judged(facts: Facts, chain: ForwardChain) -> Finding:
    blocked = _blocked(facts, chain)
    concerned = [
        f"{network.name} ({network.mode})"
        for network in (facts.lab.networks.values() if facts.lab else ())
        if network.mode in blocked
    ]
    modes = " and ".join(mode.value for mode in blocked) or "no"
    if concerned:
        matters = f"guests of {', '.join(concerned)} cannot reach other networks"
    elif facts.lab is not None and blocked:
        matters = f"{modes} networks could not reach other networks; this lab has none"
    elif blocked:
        matters = f"{modes} networks cannot reach other networks"
    else:
        matters = "libvirt's own rules in it let nat and route networks pass; nothing else is forwarded"
    return Finding(
        f"firewall {chain.family} {chain.table} {chain.name}{' (legacy)' if chain.is_legacy else ''}",
        Status.FAILED if concerned else Status.WARNING,
        f"{_owner(chain)} drops what bridges forward",
        matters,
        _remedy(facts, chain),
    )


def _blocked(facts: Facts, chain: ForwardChain) -> list[Mode]:
    """Return the modes whose packets do not pass a chain.

    libvirt puts its rules into iptables' table filter, so that they come before the policy there. Rules in
    another table accept nothing for this one, and `open` networks have none.
    """
    blocked = [Mode.OPEN] if chain.lets_libvirt_in or _is_libvirts(facts, chain) else list(_FORWARDED)
    if facts.kernel.get("net.bridge.bridge-nf-call-iptables", "0") != "0" and chain.family != "ip6":
        blocked.append(Mode.BRIDGE)
    return blocked


def _is_libvirts(facts: Facts, chain: ForwardChain) -> bool:
    """Tell whether libvirt will put its rules into a chain with the first network that it starts."""
    versions = [side.library for side in facts.libvirt if side.library is not None]
    uses_iptables = bool(versions) and min(versions) < _NFTABLES_SINCE
    # Which of both iptables libvirt calls is not known until it has put its rules there.
    return (
        uses_iptables
        and not chain.is_legacy
        and chain.family in _IPTABLES
        and (chain.table, chain.name) == ("filter", "FORWARD")
    )


def _program(chain: ForwardChain) -> str:
    return _IPTABLES[chain.family] + ("-legacy" if chain.is_legacy else "")


def _owner(chain: ForwardChain) -> str:
    if chain.table == "firewalld":
        return "firewalld"
    if chain.family in _IPTABLES and chain.table == "filter":
        program = _program(chain)
        if "DOCKER-USER" in chain.chains or "DOCKER" in chain.chains:
            return f"{program}: Docker's FORWARD policy"
        if any(name.startswith("ufw") for name in chain.chains):
            return f"{program}: ufw's FORWARD policy"
        return f"{program}: the policy of FORWARD"
    return f"nftables: the chain {chain.name} of table {chain.family} {chain.table}"


def _remedy(facts: Facts, chain: ForwardChain) -> str:
    if chain.table == "firewalld":
        bridges = [network.bridge for network in facts.networks if network.active and network.bridge]
        named = " ".join(f"--add-interface={bridge}" for bridge in bridges or ["virbr0"])
        return f"sudo firewall-cmd --permanent --zone=trusted {named} && sudo firewall-cmd --reload"
    if chain.family in _IPTABLES and chain.table == "filter":
        program = _program(chain)
        where = "DOCKER-USER" if "DOCKER-USER" in chain.chains else chain.name
        return " && ".join(f"sudo {program} -I {where} {way} 'virbr+' -j ACCEPT" for way in ("-i", "-o"))
    rule = f"sudo nft insert rule {chain.family} {chain.table} {chain.name}"
    return " && ".join(f"{rule} {way} '\"virbr*\"' accept" for way in ("iifname", "oifname"))
