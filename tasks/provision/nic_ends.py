"""The ends of NICs on the hypervisor: the device behind which a guest's NIC is, found without its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labrun.bounded import objects, read_json
from labrun.errors import HypervisorError, UnreachableError, UnreadableError, UsageError
from labrun.hypervisor import connect, is_local
from labrun.inventory.model import Host, Interface, Lab, Mode
from labrun.inventory.topology.vlans import carrier
from labrun.tasks.provision.hypervisor_network import hypervisor_network, shares_network
from labrun.tasks.provision.hypervisor_shell import run_as_root
from labrun.tasks.provision.network_view import Plug, own_plugs

__all__ = ["NicEnd", "nic_ends"]

_NOWHERE = Plug("", None, "", "")


@dataclass(frozen=True, slots=True)
class NicEnd:
    """A NIC of a running guest: ``device`` is its end on the hypervisor, which may be a macvtap's.

    ``far`` is the URI of that hypervisor if it is another machine, where a root shell reaches the device.
    """

    host: str
    nic: str
    mac: str
    device: str
    is_macvtap: bool = False
    far: str = ""

    @property
    def name(self) -> str:
        """Return ``HOST:NIC``."""
        return f"{self.host}:{self.nic}"


def nic_ends(
    lab: Lab,
    uri: str,
    nics: Iterable[tuple[str, str]],
    *,
    does: str,
    only_running: bool = False,
) -> tuple[NicEnd, ...]:
    """Return the end of every NIC given as (host, NIC).

    ``does`` is the command that is to work on them, for messages. With ``only_running``, NICs that have no
    end there are left out. A hypervisor that is another machine is asked by a root shell, over the login of
    its URI. Raises UsageError for a NIC that has no end there, UnreachableError for a machine that is
    off, HypervisorError.
    """
    wanted = [
        (lab.hosts[host], nic)
        for host, name in nics
        for nic in lab.hosts[host].interfaces
        if nic.name == name
    ]
    for host, _ in wanted:
        if host.machine is None and not only_running:
            raise UsageError(
                "an existing machine has no NIC on this hypervisor",
                step=host.name,
                hint=f"`labrun ssh {host.name}`, and do it there",
            )
    # A hypervisor that does not answer says so; without it, every machine would look as if it were off.
    connect(uri)
    far = "" if is_local(uri) else uri
    if not far and not shares_network(uri):
        raise UsageError(f"the NICs are on another machine: {uri}", hint=f"run `labrun {does}` there")
    plugs = own_plugs(lab.name, uri)
    devices = _far_devices(far, does) if far else _devices(uri, does)
    running = {host for host, _ in plugs}
    found = []
    for host, nic in wanted:
        if only_running and plugs.get((host.name, nic.mac), _NOWHERE).dev not in devices:
            continue
        if host.name not in running:
            raise UnreachableError(
                "its machine is not running: `labrun up` starts it", host=host.name, step=does
            )
        plug = plugs.get((host.name, nic.mac))
        if plug is None or plug.dev not in devices:
            raise _no_end(lab, host, nic, does)
        is_macvtap = lab.networks[nic.network].mode is Mode.MACVTAP
        found.append(NicEnd(host.name, nic.name, nic.mac, plug.dev, is_macvtap, far))
    return tuple(found)


def _devices(uri: str, does: str) -> frozenset[str]:
    here = hypervisor_network(uri)
    if here is None:
        raise HypervisorError(
            "the devices of this machine cannot be read", step=does, hint="install iproute2"
        )
    return frozenset(here.links)


def _far_devices(uri: str, does: str) -> frozenset[str]:
    text = run_as_root(uri, "ip -j link show\n", does)
    try:
        listed = objects(read_json(text or "[]", "ip link"), "ip link", "links")
    except UnreadableError as error:
        raise HypervisorError(error.reason, step=does) from error
    return frozenset(str(each.get("ifname")) for each in listed)


def _no_end(lab: Lab, host: Host, nic: Interface, does: str) -> Exception:
    name = f"{host.name}:{nic.name}"
    vlan, below = lab.networks[nic.network].vlan, carrier(lab, host, nic)
    if vlan is not None:
        hint = f"name {host.name}:{below.name}, where its frames pass with the tag {vlan.id}"
        return UsageError(f"{name} is a VLAN device inside of the guest", step=does, hint=hint)
    if lab.networks[nic.network].mode is Mode.MACVTAP:
        return UsageError(
            f"{name} is a macvtap inside of the container: it has no device on this machine",
            step=does,
            hint=f"`labrun exec --via agent --hosts {host.name} CMD` runs a command beside it",
        )
    return HypervisorError(f"{name} is not plugged in", step=does, hint="`labrun up` plugs it in")
