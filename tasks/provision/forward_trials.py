"""Try the hypervisor's forwarded ports from the hypervisor itself, at an address outside the lab."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Literal

from labrun.errors import LabrunError
from labrun.hypervisor import connect, is_local
from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.hypervisor_forwards import ForwardTrial, answers_by_itself
from labrun.tasks.collect.forward_judge import TriedForward
from labrun.tasks.provision import nft
from labrun.tasks.provision.forwards import forward_specs, observe_forwards, plan_forward
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network

__all__ = ["dialled_address", "forwards_by_hand", "try_forwards"]

_SECONDS = {"tcp": 4.0, "udp": 1.5}
_AT_ONCE = 8
_LOOPBACK = ip_address("127.0.0.1")


def try_forwards(lab: Lab, uri: str, trials: Sequence[ForwardTrial]) -> Mapping[ForwardTrial, TriedForward]:
    """Return what connections to the forwarded ports show; nothing is read or sent where there are none."""
    if not trials:
        return {}
    here = hypervisor_network(uri)
    if here is None:
        whose = "the network of its libvirtd cannot be entered: run labrun as root on the hypervisor itself"
        why = whose if is_local(uri) else f"{uri} is another machine"
        return dict.fromkeys(trials, TriedForward("error", why=f"not tried from here: {why}"))
    lost = _lost(lab, uri)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda trial: _tried(lab, trial, here, lost.get(trial.network)), trials)
        return dict(zip(trials, found, strict=True))


def _lost(lab: Lab, uri: str) -> dict[str, str]:
    """Return, by network, what is not as it should be of what forwards; empty where nobody can look."""
    if nft.unusable(uri):
        return {}
    try:
        seen = observe_forwards(connect(uri), lab.name)
        specs = forward_specs(lab, uri, seen)
    except LabrunError as error:
        return dict.fromkeys(lab.networks, f"what forwards it cannot be read: {error.reason}")
    found = {}
    for spec in specs:
        plan = plan_forward(spec, seen.get(spec.name))
        if plan.action == "none":
            continue
        names = plan.item.differences
        tables = seen[spec.name].have.get("rules") if spec.name in seen else ""
        if not tables:
            what = f"the table inet {spec.full_name} is gone"
        elif "rules" in names:
            what = f"the table inet {spec.full_name} is another"
        elif "accepted" in names:
            what = "a rule that accepts it in FORWARD is gone, or comes too late"
        else:
            what = "route_localnet is off on the bridge"
        found[spec.name] = f"{what}: `labrun up` puts it back"
    return found


def _tried(lab: Lab, trial: ForwardTrial, here: HypervisorNetwork, lost: str | None) -> TriedForward:
    if lost is not None:
        return TriedForward("lost", why=lost)
    at = dialled_address(lab, trial, here)
    if at is None:
        return TriedForward("error", why=f"the hypervisor has no IPv{trial.to.version} address to try it at")
    client = _seen_as(lab, trial, at)
    return TriedForward(_dial(trial.forward.proto, at, trial.forward.port), client)


def dialled_address(lab: Lab, trial: ForwardTrial, here: HypervisorNetwork) -> Address | None:
    """Return the hypervisor's address to try a port at: one outside the lab, as those of other clients.

    From there the host's answers need a way back by its default route. Without one, 127.0.0.1 serves, or the
    hypervisor's address on the network.
    """
    network = lab.networks[trial.network]
    subnet = network.cidr if trial.to.version == 4 else network.cidr6
    held = [
        each.interface.ip
        for name, link in here.links.items()
        if name in here.up
        for each in link.held
        if each.interface.version == trial.to.version
    ]
    usable = [a for a in held if not a.is_link_local and not a.is_loopback]
    outside = next((each for each in usable if not _is_of_lab(lab, each)), None)
    if outside is not None:
        return outside
    if trial.to.version == 4:
        return _LOOPBACK
    return next((each for each in usable if subnet is None or each in subnet), None)


def _is_of_lab(lab: Lab, address: Address) -> bool:
    subnets = (each for network in lab.networks.values() for each in (network.cidr, network.cidr6))
    return any(subnet is not None and address in subnet for subnet in subnets)


def _seen_as(lab: Lab, trial: ForwardTrial, at: Address) -> Address | None:
    """Return the address that the host sees: the hypervisor's there where that is put in its place."""
    network = lab.networks[trial.network]
    own = network.hypervisor4 if trial.to.version == 4 else network.hypervisor6
    hides = at.is_loopback or not answers_by_itself(lab, network, trial.to)
    return at if not hides else own.ip if own is not None else None


def _dial(proto: str, at: Address, port: int) -> Literal["open", "refused", "filtered", "silent"]:
    family = socket.AF_INET if at.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as sock:
        sock.settimeout(_SECONDS[proto])
        try:
            sock.connect((str(at), port))
            if proto == "udp":
                sock.send(b"\n")
                sock.recv(1)
        except TimeoutError:
            return "filtered" if proto == "tcp" else "silent"
        except OSError as error:
            return "refused" if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET) else "filtered"
    return "open"


def forwards_by_hand(lab: Lab, uri: str, trials: Sequence[ForwardTrial]) -> Iterator[str]:
    """Yield the commands, one a port, that a person would type on the hypervisor to try the same."""
    here = hypervisor_network(uri) if trials else None
    for trial in trials:
        at = dialled_address(lab, trial, here) if here is not None else _LOOPBACK
        options = "-nuzv -w 1" if trial.forward.proto == "udp" else "-nzv -w 4"
        yield f"nc {options} {at or trial.to} {trial.forward.port}   # {trial.name}"
