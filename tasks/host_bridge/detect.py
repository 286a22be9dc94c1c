"""Who configures a NIC of this machine, and the change that puts it into a bridge or out of one."""

from __future__ import annotations

from pathlib import Path

from labrun.errors import HostBridgeError
from labrun.tasks.host_bridge import ifupdown, netplan, network_manager
from labrun.tasks.host_bridge.machine import output
from labrun.tasks.host_bridge.model import Addressing, Change, Device, Manager, Record

__all__ = ["bridge_change", "nic_change"]

_BACK = {
    Manager.NETWORK_MANAGER: network_manager.back_to_nic,
    Manager.NETPLAN: netplan.back_to_nic,
    Manager.IFUPDOWN: ifupdown.back_to_nic,
}
# NetworkManager's profiles are its own: it has UUIDs, and no file that was changed.
_FOLDER = {Manager.NETPLAN: netplan.NETPLAN, Manager.IFUPDOWN: Path("/")}


def bridge_change(nic: Device, bridge: str, wanted: Addressing | None) -> Change:
    """Return the change that makes a bridge of the NIC, for whatever configures it.

    netplan comes first: NetworkManager and networkd then only do what it says. Raises HostBridgeError if the
    NIC is nobody's, or somebody's whose files labrun does not write.
    """
    if netplan.definitions(netplan.netplan_files(), nic) and output("netplan", "--help") is not None:
        return netplan.to_bridge(nic, bridge, wanted)
    if (profile := network_manager.managed_profile(nic.name)) is not None:
        return network_manager.to_bridge(nic, bridge, *profile, wanted)
    if ifupdown.is_defined(ifupdown.interfaces_files(), nic.name) and output("ifup", "--version") is not None:
        return ifupdown.to_bridge(nic, bridge, wanted)
    if (file := _networkd_file(nic.name)) is not None:
        raise HostBridgeError(
            f"{nic.name} is configured by systemd-networkd without netplan ({file})",
            hint=f"make the bridge there: a {bridge}.netdev with Kind=bridge, a {bridge}.network with the "
            f"addresses, and Bridge={bridge} in {file}; or describe the NIC in /etc/netplan",
        )
    raise HostBridgeError(
        f"nothing that labrun knows configures {nic.name}: neither NetworkManager, netplan nor ifupdown",
        hint=f"let one of them do so, for instance: nmcli device set {nic.name} managed yes",
    )


def _networkd_file(nic: str) -> str | None:
    for line in (output("networkctl", "--no-pager", "status", nic) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "Network File" and value.strip() not in ("", "n/a"):
            return value.strip()
    return None


def nic_change(record: Record) -> Change:
    """Return the change that gives a NIC back what it had before the bridge.

    Raises HostBridgeError if the manager's files are no longer those that labrun wrote.
    """
    for name, text in record.after.items():
        path = _FOLDER[record.manager] / name.lstrip("/")
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            raise HostBridgeError(
                f"{path} was changed since labrun made {record.bridge}, and is left alone",
                hint=f"remove {record.bridge} from it by hand and delete {record.bridge} below "
                "/var/lib/labrun/host-bridge",
            )
    return _BACK[record.manager](record)
