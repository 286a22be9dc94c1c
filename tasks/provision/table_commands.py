"""The commands that carry out the plan of a filter, a table or the forwards of a network by hand."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from labrun.hypervisor import in_daemon_network
from labrun.tasks.provision import nft
from labrun.tasks.provision.forwards import accepting_commands, loopback_switch, withdrawing_commands
from labrun.tasks.provision.objects import Observed, Planned

__all__ = ["filter_commands", "forward_commands", "undefine_commands"]


def filter_commands(uri: str, each: Planned) -> list[str]:
    """Return the commands that redefine a filter: it changes at once where it is in use."""
    spec = each.spec
    if each.plan.action == "none":
        return []
    if _is_table(spec.full_name):
        return [_nft(uri, nft.replacing(spec.xml, spec.full_name))]
    lines = [f"virsh -c {uri} nwfilter-define /dev/stdin <<'XML'\n{spec.xml}\nXML"]
    if each.seen is not None and _is_table(each.seen.full_name):
        # It needed a table before the file changed.
        lines.append(_nft(uri, nft.replacing("", each.seen.full_name)))
    return lines


def undefine_commands(uri: str, replaced: Mapping[str, Observed]) -> list[str]:
    """Return the commands that remove the filters of libvirt that tables replace, once no NIC has them."""
    return [f"virsh -c {uri} nwfilter-undefine {each.full_name}" for each in replaced.values()]


def forward_commands(uri: str, each: Planned, *, anew: bool) -> list[str]:
    """Return the commands that carry out the plan of a network's forwards. Raises HypervisorError.

    ``anew`` = its network is started anew, with another bridge, which the switch does not outlive.
    """
    spec, switch = each.spec, each.spec.want["loopback"] == "yes"
    if each.plan.action == "none":
        return [_loopback(uri, f"{spec.lab}-{spec.name}")] if anew and switch else []
    lines = [_typed(uri, command) for command in withdrawing_commands(spec.full_name)]
    lines.append(_nft(uri, nft.replacing(spec.xml, spec.full_name)))
    if spec.xml:
        lines += [_typed(uri, command) for command in accepting_commands(spec)]
        lines += [_loopback(uri, f"{spec.lab}-{spec.name}")] if switch else []
    return lines


def _is_table(full_name: str) -> bool:
    # A name of libvirt has no slash.
    return "/" in full_name


def _loopback(uri: str, network: str) -> str:
    # The bridge may be one that the commands before this one make.
    bridge = f"$(LC_ALL=C virsh -c {uri} net-info {network} | awk '$1 == \"Bridge:\" {{print $2}}')"
    return f'echo 1 | {_typed(uri, ["tee"])} "{loopback_switch(bridge)}" >/dev/null'


def _nft(uri: str, text: str) -> str:
    return _typed(uri, ["nft", "-f", "-"]) + f" <<'NFT'\n{text.rstrip()}\nNFT"


def _typed(uri: str, command: Iterable[str]) -> str:
    return shlex.join([*in_daemon_network(uri), *command])
