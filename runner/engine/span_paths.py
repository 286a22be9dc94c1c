"""The ways between the hypervisors of a lab, as they are now: what may span, and with which MTU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from labrun.errors import HypervisorError
from labrun.inventory.topology.tunnels import tunnels_of
from labrun.runner.engine.span import Span, with_mtus
from labrun.tasks.provision.tunnel_paths import TunnelPath, look_at_paths, tunnel_faults

__all__ = ["faults_on", "measured"]

_ETHERNET = 1500


def measured(span: Span) -> Span:
    """Return the lab with the MTU of each network that spans.

    The file's comes first. One that the network has already stays unless it is too large by now. Ways that
    cannot be measured leave it as it is.
    """
    paths: dict[str, TunnelPath] = {}
    silent: dict[str, str] = {}
    mtus: dict[str, int] = {}
    for member in span.members:
        tunnels = list(tunnels_of(span.lab, span.placement, member.name))
        if not tunnels:
            continue
        try:
            path = paths[member.name] = look_at_paths(member.uri, tunnels)
        except HypervisorError as error:
            silent[member.name] = f"{error.reason} ({error.hint})" if error.hint else error.reason
            continue
        for tunnel in tunnels:
            if (mtu := path.mtu(tunnel)) is not None:
                mtus[tunnel.network] = min(mtus.get(tunnel.network, _ETHERNET), mtu)
    for network, mtu in span.recorded.items():
        mtus[network] = min(mtus.get(network, mtu), mtu)
    found = with_mtus(span, mtus)
    return replace(found, paths=MappingProxyType(paths), silent=MappingProxyType(silent))


def faults_on(span: Span, hypervisor: str) -> Mapping[str, str]:
    """Return why ends of tunnels on a hypervisor cannot be made or used now, by network."""
    names = {str(each.tunnel): name for name, each in span.lab.hypervisors.items() if each.tunnel is not None}
    found = {}
    for tunnel in tunnels_of(span.lab, span.placement, hypervisor):
        has_ipv6 = span.lab.networks[tunnel.network].cidr6 is not None
        path = span.paths.get(hypervisor)
        why = span.silent.get(hypervisor, "")
        if path is not None:
            why = tunnel_faults(hypervisor, tunnel, path, names, has_ipv6=has_ipv6)
        if why:
            found[tunnel.network] = why
    return found
