"""All that the hypervisor enforces on a lab's NICs: libvirt's filters, and nftables of labrun's own.

A filter that only denies is libvirt's; one that keeps state, rejects or records is a table, and so is what
keeps guests from using addresses of others. Only labrun calls tables ``labrun/LAB/...``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrun.errors import HypervisorError
from labrun.inventory.model import Lab
from labrun.inventory.traffic import Filter
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision import nft
from labrun.tasks.provision.filter_table import filter_table
from labrun.tasks.provision.filters import apply_filter, filter_spec, observe_filters, remove_filter
from labrun.tasks.provision.kept_rules import forget_rules, keep_rules
from labrun.tasks.provision.objects import Observed, Plan, Spec
from labrun.tasks.provision.rows import AS_IN_FILE
from labrun.tasks.provision.spoofing_table import guarded, spoofing_table

__all__ = [
    "DECLARED",
    "apply_rules",
    "filter_table_name",
    "observe_rules",
    "remove_rules",
    "replaced_filters",
    "rule_specs",
    "unenforced",
]

DECLARED = "declared addresses"
"""The name of what keeps guests from using addresses that the file gives to others."""

_ROOT = "labrun"
_OF_LIBVIRT = " (libvirt)"


def _prefix(lab: str) -> str:
    return f"{_ROOT}/{lab}/"


def filter_table_name(lab: str, name: str) -> str:
    """Return the name of a filter's table."""
    return f"{_prefix(lab)}filter/{name}"


def _spoofing_name(lab: str) -> str:
    return f"{_prefix(lab)}spoofing"


def rule_specs(lab: Lab, uri: str) -> list[Spec]:
    """Return what the hypervisor should enforce for a lab, in file order.

    Raises HypervisorError for a filter that this hypervisor cannot enforce.
    """
    specs = [_spec(lab, each, uri) for each in lab.filters.values()]
    if guarded(lab) and not nft.unusable(uri):
        name = _spoofing_name(lab.name)
        specs.append(_table(lab, DECLARED, name, spoofing_table(lab, name)))
    return specs


def unenforced(lab: Lab, uri: str) -> list[Outcome]:
    """Return a row for what holds by default and cannot be enforced here, with the reason."""
    why = nft.unusable(uri)
    if not why or not guarded(lab):
        return []
    why = f"guests can use each other's addresses: {why}"
    return [Outcome(HYPERVISOR, "filter", DECLARED, Status.SKIPPED, AS_IN_FILE, "not enforced", why)]


def _spec(lab: Lab, found: Filter, uri: str) -> Spec:
    if not found.needs_nftables:
        return filter_spec(lab, found)
    if why := nft.unusable(uri):
        kinds = "allow, reject and log" if found.keeps_state else "log"
        raise HypervisorError(
            f"the filter {found.name} cannot be enforced: {why}",
            step="filter",
            hint=f"leave {kinds} out of it: libvirt can only deny",
        )
    name = filter_table_name(lab.name, found.name)
    return _table(lab, found.name, name, filter_table(lab, found, name))


def _table(lab: Lab, name: str, table: str, text: str) -> Spec:
    return Spec(lab.name, name, table, {"rules": nft.canonical(text, table)}, text)


def observe_rules(connection: Any, lab: str) -> dict[str, Observed]:
    """Return what the hypervisor enforces for a lab, by its name there. Raises HypervisorError.

    A filter of libvirt that a table of the same name has replaced is called ``NAME (libvirt)``.
    """
    seen = observe_filters(connection, lab)
    if nft.unusable(str(connection.getURI())):
        return seen
    prefix = _prefix(lab)
    families: dict[str, list[str]] = {}
    for family, table in nft.tables():
        if table.startswith((f"{prefix}filter/", f"{prefix}spoofing")):
            families.setdefault(table, []).append(family)
    for table, of_table in families.items():
        name = DECLARED if table == _spoofing_name(lab) else table.rpartition("/")[2]
        if name in seen:
            seen[f"{name}{_OF_LIBVIRT}"] = seen[name]
        seen[name] = Observed(table, {"rules": nft.listing(table, of_table)})
    return seen


def replaced_filters(specs: list[Spec], seen: Mapping[str, Observed]) -> dict[str, Observed]:
    """Return the filters of libvirt that tables replace, to be removed once no NIC has them any more."""
    found = {}
    for spec in specs:
        for name in (spec.name, f"{spec.name}{_OF_LIBVIRT}"):
            there = seen.get(name)
            is_table = spec.full_name.startswith(_prefix(spec.lab))
            if is_table and there is not None and not there.full_name.startswith(_prefix(spec.lab)):
                found[f"{spec.name}{_OF_LIBVIRT}"] = there
    return found


def apply_rules(connection: Any, spec: Spec, plan: Plan) -> None:
    """Carry out a plan; what runs is subject to the new rules immediately."""
    if spec.full_name.startswith(_prefix(spec.lab)):
        if plan.action != "none":
            nft.load(spec.xml, spec.full_name)
        keep_rules(spec.full_name, spec.xml)
        return
    apply_filter(connection, spec, plan)
    if not nft.unusable(str(connection.getURI())):
        # It needed a table before the file changed.
        table = filter_table_name(spec.lab, spec.name)
        nft.remove(table)
        forget_rules(table)


def remove_rules(connection: Any, lab: str, full_name: str) -> bool:
    """Remove a filter or table of the lab; return False if there was none."""
    if full_name.startswith(_prefix(lab)):
        forget_rules(full_name)
        return nft.remove(full_name)
    return remove_filter(connection, lab, full_name)
