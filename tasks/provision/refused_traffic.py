"""What the rules with ``log: true`` have refused, read from the hypervisor's tables.

The record is in the tables, not in the kernel's log: that is silent about all network namespaces but the
first (``nf_log_all_netns`` is 0), and NFLOG needs a program to listen. An entry is kept for a day after its
last packet, and as long as the rules of the filter are not changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labrun.errors import HypervisorError
from labrun.inventory.model import Host, Lab
from labrun.inventory.topology.nic_filters import directions, rule_words
from labrun.inventory.traffic import Filter
from labrun.json_values import JsonObject
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision import nft
from labrun.tasks.provision.filter_table import LOGS, log_set, noted
from labrun.tasks.provision.hypervisor_rules import filter_table_name

__all__ = ["Refused", "counter_rows", "recording", "refused_at"]

_DAY = 86400
_EVERYBODY = ("ff:ff:ff:ff:ff:ff", "01:00:5e", "33:33")


@dataclass(frozen=True, slots=True)
class Refused:
    """Packets of one kind that a rule refused at a NIC; ``ago`` is the last one's age in seconds.

    ``network`` is the NIC's name, by default that of its network. ``port`` is the destination's, None for a
    protocol without ports.
    """

    ago: int
    network: str
    filter: str
    rule: str
    source: str
    to: str
    proto: str
    port: int | None
    packets: int
    bytes: int

    def as_json(self) -> JsonObject:
        """Return it with the keys of the lab file where it has them: ``from`` for ``source``."""
        found = asdict(self)
        return {("from" if key == "source" else key): value for key, value in found.items()}


def recording(lab: Lab, host: Host) -> dict[str, Filter]:
    """Return the filters of a host's NICs that record anything, by the NIC's name."""
    found = {nic.name: lab.filters.get(nic.filter or "") for nic in host.interfaces}
    return {
        nic: each for nic, each in found.items() if each is not None and any(rule.log for rule in each.rules)
    }


def refused_at(lab: Lab, host: Host) -> list[Refused]:
    """Return what the host's NICs were refused, the latest first. Raises HypervisorError."""
    found = [
        each
        for nic, each_filter in recording(lab, host).items()
        for each in _of_nic(lab, host, nic, each_filter)
    ]
    return sorted(found, key=lambda each: each.ago)


def _of_nic(lab: Lab, host: Host, name: str, found: Filter) -> Iterator[Refused]:
    nic = host.nic(name)
    sets = {each["set"]["name"]: each["set"] for each in _table(lab, found) if "set" in each}
    for number, rule in enumerate(found.rules):
        for direction in directions(rule) if rule.log else ():
            for kind in LOGS:
                for element in sets.get(log_set(number, direction, kind), {}).get("elem", ()):
                    what = element["elem"]
                    mac, source, to, proto, *port = what["val"]["concat"]
                    # What goes to everybody was refused at each of the filter's NICs.
                    if nic is not None and mac != nic.mac and not mac.startswith(_EVERYBODY):
                        continue
                    count = what.get("counter", {})
                    yield Refused(
                        max(0, _DAY - int(what.get("expires", _DAY))),
                        name,
                        found.name,
                        rule_words(rule),
                        source,
                        to,
                        str(proto),
                        int(port[0]) if port else None,
                        count.get("packets", 0),
                        count.get("bytes", 0),
                    )


def _table(lab: Lab, found: Filter) -> list[dict[str, Any]]:
    name = filter_table_name(lab.name, found.name)
    if ("bridge", name) not in nft.tables():
        raise HypervisorError(
            f"the filter {found.name} is not in force", step="filter", hint="`labrun up` loads it"
        )
    return list(json.loads(nft.run(["nft", "-j", "list", "table", "bridge", name]))["nftables"])


def _counted(lab: Lab, found: Filter) -> Mapping[int, int]:
    """Return how many packets each recording rule of a filter has refused, by its number.

    Raises HypervisorError.
    """
    counts = {number: 0 for number, rule in enumerate(found.rules) if rule.log}
    for each in _table(lab, found):
        found_rule = noted(each.get("rule", {}).get("comment", ""))
        if found_rule is not None and found_rule[0] in counts:
            parts = (part["counter"] for part in each["rule"]["expr"] if "counter" in part)
            counts[found_rule[0]] += sum(int(counter["packets"]) for counter in parts)
    return counts


def counter_rows(lab: Lab, uri: str) -> list[Outcome]:
    """Return a row for each recording rule of the filters that a NIC has: how many packets it refused."""
    used = {nic.filter for host in lab.hosts.values() if host.machine for nic in host.interfaces}
    rows = []
    for found in lab.filters.values():
        if found.name not in used or not any(rule.log for rule in found.rules):
            continue
        try:
            counts = _usable_counts(lab, found, uri)
        except HypervisorError as error:
            why = f"{error.reason} ({error.hint})" if error.hint else error.reason
            rows.append(Outcome(HYPERVISOR, "filter", found.name, Status.UNKNOWN, "in force", None, why))
            continue
        for number, packets in counts.items():
            name = f"{found.name}: {rule_words(found.rules[number])}"
            actual = f"{packets} packet{'' if packets == 1 else 's'} refused"
            rows.append(Outcome(HYPERVISOR, "filter", name, Status.OK, "in force", actual))
    return rows


def _usable_counts(lab: Lab, found: Filter, uri: str) -> Mapping[int, int]:
    if why := nft.unusable(uri):
        raise HypervisorError(f"its counters cannot be read: {why}")
    return _counted(lab, found)
