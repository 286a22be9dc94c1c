"""The cloud-init data of one machine: the same NoCloud files for containers and VMs."""

from __future__ import annotations

from collections.abc import Sequence

from labrun.inventory.model import Host, Lab, Mode
from labrun.inventory.topology.vlans import carrier, is_on_vlan, vlan_device
from labrun.json_values import JsonObject, JsonValue
from labrun.key_pairs import HostKey
from labrun.tasks.provision.driver import Seed
from labrun.tasks.provision.lean_boot import lean_boot

__all__ = ["seed_for"]


def seed_for(
    lab: Lab,
    host: Host,
    *,
    instance: str,
    host_key: HostKey,
    login_keys: Sequence[str],
    password: str,
    is_lean: bool = True,
) -> Seed:
    """Return meta-data, user-data and network-config of a host.

    ``instance`` is the instance id: it must not change during the machine's life, or cloud-init starts over
    and generates new host keys. ``login_keys`` may log in as ``host.user``, and at the console ``password``.
    ``is_lean`` = the image itself leaves out what a first boot in a lab does not need.
    """
    return Seed(
        meta_data=_dump({"instance-id": instance, "local-hostname": host.name}),
        user_data="#cloud-config\n"
        + _dump({**_user_data(host, host_key, login_keys, password), **({} if is_lean else lean_boot())}),
        network_config=_dump(_network_config(lab, host)),
    )


def _dump(value: JsonObject) -> str:
    import yaml  # only needed when a machine is created

    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False, width=10_000)


def _user_data(host: Host, host_key: HostKey, login_keys: Sequence[str], password: str) -> JsonObject:
    return {
        "hostname": host.name,
        "users": [
            {
                "name": host.user,
                "gecos": "labrun",
                "shell": "/bin/bash",
                # For the console alone, as a last resort: sshd accepts no passwords.
                "lock_passwd": False,
                "plain_text_passwd": password,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": list(login_keys),
            }
        ],
        # The key is provided before the first boot, so it is known before the first login.
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "disable_root": True,
        "ssh_pwauth": False,
        "locale": False,
        "manage_etc_hosts": "localhost",
        "package_update": False,
        "package_upgrade": False,
    }


def _network_config(lab: Lab, host: Host) -> JsonObject:
    """Bring up each NIC by its MAC with its address and nothing else.

    Gateways and routes are left to `configure`: until then a host is reachable only from its subnets, which
    is all that labrun needs.
    """
    real = [nic for nic in host.interfaces if not is_on_vlan(lab, nic)]
    names = {nic.mac: f"eth{number}" for number, nic in enumerate(real)}
    ethernets: dict[str, JsonObject] = {}
    vlans: dict[str, JsonObject] = {}
    for nic in host.interfaces:
        network = lab.networks[nic.network]
        entry: dict[str, JsonValue] = {}
        if nic.dhcp:
            entry["dhcp4"] = True
        if nic.ipv6_method:
            # NetworkManager follows what the router advertisements say, whichever of the two it is.
            entry["dhcp6"] = True
        given = [*([nic.ipv4] if nic.dhcp else []), *([nic.ipv6] if nic.ipv6_method else [])]
        addresses: list[JsonValue] = [str(each) for each in nic.addresses if each not in given]
        if addresses:
            entry["addresses"] = addresses
        if network.mtu is not None and network.mode is not Mode.BRIDGE:
            entry["mtu"] = network.mtu
        if network.vlan is not None:
            on = names[carrier(lab, host, nic).mac]
            vlans[vlan_device(lab, host, nic)] = {"id": network.vlan.id, "link": on, **entry}
        else:
            name = names[nic.mac]
            ethernets[name] = {"match": {"macaddress": nic.mac}, "set-name": name, **entry}
    return {"version": 2, "ethernets": ethernets, **({"vlans": vlans} if vlans else {})}
