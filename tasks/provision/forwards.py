"""Ports of the hypervisor that lead into a network: the table, and what lets their packets through.

libvirt rejects what comes into a nat network in a chain of iptables; a rule before it, with the lab's and
network's names in its comment, excepts the forwards. Where libvirt has a table of nftables instead, a warning
says so. A table of somebody else that drops what it does not know cannot be overruled: nftables has every
table agree.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import networks_of, translated, unless_gone
from labrun.inventory.model import Lab, Network
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision import nft
from labrun.tasks.provision.forward_table import Leading, forward_table, leading
from labrun.tasks.provision.kept_rules import forget_rules, keep_rules
from labrun.tasks.provision.objects import Observed, Plan, Spec, item_of, plan_of, yes_or_no
from labrun.tasks.state.item import Words, diff_of

__all__ = [
    "accepting_commands",
    "apply_forward",
    "forward_specs",
    "forward_warnings",
    "loopback_switch",
    "observe_forwards",
    "plan_forward",
    "remove_forward",
    "withdrawing_commands",
]

_LOOPBACK = "/proc/sys/net/ipv4/conf/{}/route_localnet"
_TOOLS = {4: "iptables", 6: "ip6tables"}
# Rules with these targets refuse nothing.
_HARMLESS = ("ACCEPT", "LOG", "NFLOG")


def _name(lab: str, network: str) -> str:
    return f"labrun/{lab}/forward/{network}"


def forward_specs(lab: Lab, uri: str, seen: dict[str, Observed]) -> list[Spec]:
    """Return the forwards of each network that has or had some. Raises HypervisorError if it cannot be."""
    return [
        _spec(lab, network, uri)
        for network in lab.networks.values()
        if network.forward or network.name in seen
    ]


def _spec(lab: Lab, network: Network, uri: str) -> Spec:
    table = _name(lab.name, network.name)
    if not network.forward:
        return Spec(lab.name, network.name, table, {"rules": "", "accepted": "", "loopback": ""}, "")
    if why := nft.unusable(uri):
        raise HypervisorError(
            f"the ports of networks.{network.name}.forward cannot be forwarded: {why}",
            step="forward",
            hint="run labrun as root on the hypervisor itself, or leave forward out",
        )
    text = forward_table(lab, network, table)
    lines = [_accepting(each) for each in leading(lab, network) if shutil.which(_TOOLS[each[1].version])]
    want = {
        "rules": nft.canonical(text, table),
        "accepted": " ".join(sorted(lines)),
        "loopback": yes_or_no(network.cidr is not None),
    }
    return Spec(lab.name, network.name, table, want, text)


def _accepting(to: Leading) -> str:
    proto, address, port, _ = to
    return f"{address}/{proto}/{port}"


def observe_forwards(connection: Any, lab: str) -> dict[str, Observed]:
    """Return the forwards of a lab's networks, by network. Raises HypervisorError."""
    if nft.unusable(str(connection.getURI())):
        return {}
    prefix = _name(lab, "")
    tables = {name for family, name in nft.tables() if family == "inet" and name.startswith(prefix)}
    accepted = _accepted(prefix)
    bridges = _bridges(connection) if tables or accepted else {}
    found = {}
    for table in sorted({*tables, *accepted}):
        network = table.removeprefix(prefix)
        switch = Path(_LOOPBACK.format(bridges.get(f"{lab}-{network}", "")))
        have = {
            "rules": nft.listing(table, ["inet"]) if table in tables else "",
            "accepted": " ".join(sorted(accepted.get(table, ()))),
            "loopback": yes_or_no(switch.is_file() and switch.read_text(encoding="ascii").strip() == "1"),
        }
        found[network] = Observed(table, have)
    return found


def _bridges(connection: Any) -> dict[str, str]:
    with translated("networks"):
        found = {}
        for network, xml in networks_of(connection):
            with unless_gone():
                if "<bridge name=" in xml and network.isActive():
                    found[network.name()] = network.bridgeName()
        return found


def _accepted(prefix: str) -> dict[str, list[str]]:
    """Return what rules of labrun's accept before anybody refuses it, by table name."""
    found: dict[str, list[str]] = {}
    for tool in _TOOLS.values():
        if shutil.which(tool) is None:
            continue
        for line in nft.run([tool, "-w", "-S", "FORWARD"]).splitlines():
            words = shlex.split(line)
            if "--comment" in words and (name := words[words.index("--comment") + 1]).startswith(prefix):
                address = words[words.index("-d") + 1].partition("/")[0]
                what = f"{address}/{words[words.index('-p') + 1]}/{words[words.index('--dport') + 1]}"
                found.setdefault(name, []).append(what)
            elif (
                words[:2] == ["-A", "FORWARD"]
                and "-j" in words
                and words[words.index("-j") + 1] not in _HARMLESS
            ):
                # What comes after a rule that may refuse it may be too late. Other labs' rules accept only.
                break
    return found


def plan_forward(spec: Spec, seen: Observed | None) -> Plan:
    """Return the plan of a network's forwards."""
    item = item_of(spec.name, spec.want, seen)
    before, after = (side.get("rules", "").splitlines() for side in (item.have, item.want))
    lines = [f"-{rule.strip()}" for rule in before if rule not in after]
    lines += [f"+{rule.strip()}" for rule in after if rule not in before]
    others = {key: value for key, value in item.differences.items() if key != "rules"}
    return plan_of(replace(item, words=Words(diff="\n".join([*lines, *filter(None, [diff_of(others)])]))))


def apply_forward(connection: Any, spec: Spec, plan: Plan) -> None:
    """Carry out a plan. Raises HypervisorError."""
    if not spec.xml:
        remove_forward(connection, spec.lab, spec.full_name)
        return
    # The hypervisor's own connections to 127.0.0.1 leave by the bridge, which is the lab's.
    bridge = _bridges(connection).get(f"{spec.lab}-{spec.name}")
    switch = loopback_switch(bridge) if bridge and spec.want["loopback"] == "yes" else ""
    accepting = accepting_commands(spec)
    if plan.action != "none":
        _withdraw(spec.full_name)
        nft.load(spec.xml, spec.full_name)
        for command in accepting:
            nft.run(command)
        if switch:
            Path(switch).write_text("1", encoding="ascii")
    keep_rules(spec.full_name, spec.xml, accepting, f"echo 1 >{shlex.quote(switch)}" if switch else "")


def loopback_switch(bridge: str) -> str:
    """Return the file whose 1 lets what comes from 127.0.0.1 leave by a bridge."""
    return _LOOPBACK.format(bridge)


def accepting_commands(spec: Spec) -> list[list[str]]:
    """Return the commands that have a network's forwards accepted before anybody refuses them."""
    commands = []
    for what in reversed(spec.want["accepted"].split()):
        address, proto, port = what.split("/")
        tool = _TOOLS[6 if ":" in address else 4]
        if shutil.which(tool) is not None:
            commands.append([tool, "-w", "-I", "FORWARD", "1", *_match(spec.full_name, address, proto, port)])
    return commands


def _match(name: str, address: str, proto: str, port: str) -> list[str]:
    conntrack = ["-m", "conntrack", "--ctstate", "DNAT"]
    note = ["-m", "comment", "--comment", name, "-j", "ACCEPT"]
    return ["-d", address, "-p", proto, "--dport", port, *conntrack, *note]


def withdrawing_commands(name: str) -> list[list[str]]:
    """Return the commands that delete labrun's rules of that name. Raises HypervisorError."""
    commands = []
    for tool in _TOOLS.values():
        if shutil.which(tool) is None:
            continue
        for line in nft.run([tool, "-w", "-S", "FORWARD"]).splitlines():
            words = shlex.split(line)
            if "--comment" in words and words[words.index("--comment") + 1] == name:
                commands.append([tool, "-w", "-D", *words[1:]])
    return commands


def _withdraw(name: str) -> bool:
    """Delete labrun's rules of that name; return whether there were any."""
    commands = withdrawing_commands(name)
    for command in commands:
        nft.run(command)
    return bool(commands)


def remove_forward(connection: Any, lab: str, full_name: str) -> bool:
    """Remove a network's forwards; return False if there were none."""
    del connection, lab
    forget_rules(full_name)
    gone = _withdraw(full_name)
    return nft.remove(full_name) or gone


def forward_warnings(lab: Lab, uri: str) -> Iterator[Outcome]:
    """Yield a row for each table of somebody else that drops forwarded packets which it does not know."""
    if not any(network.forward for network in lab.networks.values()) or nft.unusable(uri):
        return
    found = json.loads(nft.run(["nft", "-j", "list", "chains"]) or "{}").get("nftables", [])
    for chain in (each["chain"] for each in found if "chain" in each):
        where = f"{chain['family']} {chain['table']}"
        known = where in ("ip filter", "ip6 filter") or chain["table"].startswith("labrun/")
        drops = (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
        if (chain["table"], chain["name"]) == ("libvirt_network", "guest_input"):
            why = 'it rejects all incoming traffic: firewall_backend = "iptables" in libvirt/network.conf'
            yield Outcome(
                HYPERVISOR, "forward", where, Status.WARNING, "lets forwards through", "rejects", why
            )
        if drops and not known and chain["family"] in ("ip", "ip6", "inet"):
            why = f"its chain {chain['name']} drops what it does not accept itself: accept the ports there"
            yield _warning(where, "drops", why)


def _warning(table: str, does: str, why: str) -> Outcome:
    return Outcome(HYPERVISOR, "forward", table, Status.WARNING, "lets forwards through", does, why)
