"""The shell text that puts profiles in force without cutting the session, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from labrun.tasks.configure.nm_undo import Was
from labrun.tasks.configure.plan import Item
from labrun.tasks.configure.shell import install, quote

__all__ = ["Work", "apply_script"]

_MTU = 1500

# A profile with the UUID of the active one is taken over by reapply, and no address goes away for a
# moment. Of several IPv4 addresses it loses some where the first changes and the kernel does not promote the
# others (promote_secondaries). Then, and otherwise, the NIC goes down and up: as a unit of its own, because
# the session may go with it.
_BRING = """\
holds() {
n=0
until there=$(ip -o -4 address show dev "$1"); missing=; for a in $2; do
case $there in *" $a "*) ;; *) missing=$a;; esac
done; [ -z "$missing" ]; do n=$((n + 1)); [ $n -lt 10 ] || return 1; sleep 0.1; done
}
bring() {
if [ "$3" = same ] && said=$(nmcli device reapply "$1" 2>&1) && holds "$1" "$5"; then return 0; fi
systemd-run --quiet --collect --wait --pipe nmcli --wait 30 connection up uuid "$2" ifname "$1" && return 0
echo "$4: $1 did not come up${said:+; reapply said: $said}"; return 1
}
bad=0
"""
# The kernel first asks whether somebody else has a new IPv6 address (RFC 4862) and uses it only then:
# about two seconds in which whoever verifies would find it dead. Not for link-local addresses: every NIC
# has one, and nobody is to wait for it where IPv4 is all there is.
_SETTLE = """\
n=0
while [ $n -lt 25 ] && [ -n "$(ip -6 address show scope global tentative)" ]; do n=$((n + 1)); sleep 0.2; done
"""


@dataclass(slots=True)
class Work:
    """What the plan collects for the one script: files, removals, and NICs to bring up."""

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    load: list[str] = field(default_factory=list)
    bring: list[tuple[str, str, bool, str, str]] = field(default_factory=list)
    reset_mtu: list[str] = field(default_factory=list)
    was: list[Was] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def apply_script(work: Work) -> str:
    """Return what writes, removes and loads profiles and brings NICs up; empty where nothing is to do."""
    if not (work.load or work.bring):
        return ""
    lines = [install(path, text, "0600") for path, text in work.write.items()]
    if work.remove:
        lines.append("rm -f " + " ".join(quote(path) for path in dict.fromkeys(work.remove)))
    paths = " ".join(quote(path) for path in dict.fromkeys(work.load))
    lines.append(f"nmcli connection load {paths}")
    # NetworkManager leaves an MTU as it is when the profile no longer names one.
    lines.extend(f"ip link set dev {quote(interface)} mtu {_MTU}" for interface in work.reset_mtu)
    lines.append(_BRING.rstrip())
    for interface, uuid, same, network, addresses in work.bring:
        how = "same" if same else "other"
        words = " ".join(quote(word) for word in (interface, uuid, how, network, addresses))
        lines.append(f"bring {words} || bad=1")
    if work.bring:
        lines.append(_SETTLE.rstrip())
    return "\n".join([*lines, "exit $bad"])
