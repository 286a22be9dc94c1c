"""The lab's names in /etc/hosts: one marked block that labrun owns, everything around it left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from labrun.inventory.model import Address, Host, Interface, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.text_diff import unified
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Facts, Probe, quote
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.sections import HOSTS

__all__ = ["PATH", "Hosts", "lab_names"]

(PATH,) = HOSTS.files
_BEGIN = "# BEGIN labrun: written by labrun configure; changes made here are undone by its next run."
_END = "# END labrun"
_SWITCH = "/etc/nsswitch.conf"


def lab_names(lab: Lab, host: Host) -> tuple[tuple[Address, tuple[str, ...]], ...]:
    """Return the addresses at which ``host`` reaches each host of the lab, with their names, in file order.

    That is the address on the first network that both are on, which needs no router; otherwise the
    other's first address. A host whose address only a foreign DHCP server knows is left out.
    """
    return tuple(
        (address, _names_of(other)) for other in lab.hosts.values() for address in _found_at(host, other)
    )


def _names_of(host: Host) -> tuple[str, ...]:
    """Return the host's names; a fully qualified one comes first, since `hostname -f` prints that."""
    declared = host.hostname or host.name
    first, second = (declared, host.name) if "." in declared else (host.name, declared)
    return tuple(dict.fromkeys([first, second]))


def _found_at(host: Host, other: Host) -> tuple[Address, ...]:
    networks = dict.fromkeys(nic.network for nic in host.interfaces)
    nearest = [nic for network in networks for nic in other.nics_on(network)]
    for nic in (*nearest, *other.interfaces):
        if addresses := _addresses(nic):
            return addresses
    try:
        return (ip_address(other.address),) if other.address else ()
    except ValueError:
        return ()


def _addresses(nic: Interface) -> tuple[Address, ...]:
    return tuple(each.ip for each in (nic.ipv4, nic.ipv6) if each is not None)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A hosts file split up: the lines before labrun's block, the block, the lines after it."""

    before: tuple[str, ...]
    block: tuple[str, ...]
    after: tuple[str, ...]

    def filled(self, block: tuple[str, ...]) -> str:
        return "".join(f"{line}\n" for line in (*self.before, *block, *self.after))


def _cut(text: str) -> _Cut:
    """Cut out the first block; if its end marker is missing, up to the next blank line or comment.

    Lines may end with a carriage return, which makes the block another one than labrun's.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    bare = [line.removesuffix("\r") for line in lines]
    try:
        start = bare.index(_BEGIN)
    except ValueError:
        return _Cut(tuple(lines), (), ())
    rest = lines[start + 1 :]
    if _END in bare[start + 1 :]:
        stop = bare.index(_END, start + 1) - start
    else:
        ends = (at for at, line in enumerate(rest) if not line.strip() or line.startswith("#"))
        stop = next(ends, len(rest))
    return _Cut(tuple(lines[:start]), tuple(lines[start : start + 1 + stop]), tuple(rest[stop:]))


class Hosts:
    """The resource ``hosts``: one row, named after the file."""

    section = HOSTS.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"entries": [[address, names…], …]}``; None if the lab file leaves /etc/hosts alone."""
        if not host.hosts_file:
            return None
        return {
            "entries": [[str(address), *names] for address, names in lab_names(lab, host)],
            "known": {
                name: [str(each.ip) for nic in other.interfaces for each in nic.addresses]
                for other in lab.hosts.values()
                for name in _names_of(other)
                if other.address is None
                and not any(nic.dhcp and nic.ipv4 is None for nic in other.interfaces)
            },
            "own": list(_names_of(host)),
        }

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the one row's name."""
        return (PATH,)

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the file, and where the system looks names up."""
        return (Probe((PATH, _SWITCH)),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the block if it differs from the lab file."""
        text = facts.files.get(PATH)
        block = _block(want)
        cut = _cut(text or "")
        shown, actual, diff = _summary(block), _summary(cut.block), ""
        if cut.block != block:
            actual += ", not all as in the lab file" if actual == shown else ""
            diff = unified(PATH, text, cut.filled(block))
        words = Words(shown, actual, diff)
        item = Item(PATH, {"": "\n".join(block)}, {"": "\n".join(cut.block)}, words=words)
        why = _unused(facts) or "; ".join(_contradicting(want, cut))
        if why and item.state == "ok":
            # Whoever looks the names up gets something else than the block.
            have = {"": f"{item.have['']}\n{why}"}
            item = replace(item, have=have, refused=why, words=Words(shown, f"{actual}, and others"))
        elif why:
            item = replace(item, note=why)
        if item.state != "change":
            return SectionPlan(self.section, (item,))
        return SectionPlan(
            self.section,
            (item,),
            _apply(cut, block),
            f"restore {PATH}\n",
            self.explain(want),
            saves=(PATH,),
            harmless=True,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the command that appends the block."""
        return (f"printf '%s\\n' {' '.join(quote(line) for line in _block(want))} >> {PATH}",)


def _unused(facts: Facts) -> str:
    """Return why the system does not look names up in the file; empty if it does."""
    for line in facts.files.get(_SWITCH, "").splitlines():
        database, colon, sources = line.partition("#")[0].partition(":")
        if colon and database.strip() == "hosts" and "files" not in sources.split():
            return (
                f"{_SWITCH} looks hosts up in {sources.strip() or 'nothing'}: without `files`, not in {PATH}"
            )
    return ""


def _contradicting(want: Json, cut: _Cut) -> Iterator[str]:
    """Yield the lines around the block that give a name of the lab an address that is not that host's."""
    listed = {name for _, *names in want["entries"] for name in names}
    after = len(cut.before) + len(cut.block) + 1
    for number, line in (*enumerate(cut.before, 1), *enumerate(cut.after, after)):
        text, *names = line.partition("#")[0].split() or [""]
        try:
            address = ip_address(text)
        except ValueError:
            continue
        for name in names:
            # cloud-init and Debian's installer give a machine's own name a loopback address.
            is_own = name in want.get("own", ()) and address.is_loopback
            if name in listed and not is_own and text not in want.get("known", {}).get(name, (text,)):
                yield f"line {number} gives {name} the address {text}, not its own: take it out there"


def _apply(cut: _Cut, block: tuple[str, ...]) -> str:
    values: dict[str, str | int | bool] = {
        "path": PATH,
        "block": "\n".join(block),
        "before": len(cut.before),
        "resumed": len(cut.before) + len(cut.block),
    }
    return assigned(values) + guest_script("hosts_block")


def _block(want: Json) -> tuple[str, ...]:
    return (_BEGIN, *(" ".join(entry) for entry in want["entries"]), _END)


def _summary(block: tuple[str, ...]) -> str:
    count = len(dict(_names(block)))
    return f"{count} lab entr{'y' if count == 1 else 'ies'}" if count else "no lab entries"


def _names(block: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for line in block:
        if not line.startswith("#"):
            address, *names = line.split() or [""]
            yield from ((name, address) for name in names)
