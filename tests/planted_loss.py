"""Losses of large frames planted on a hypervisor: of TCP alone, and of everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bridge_port_of", "large_tcp_lost", "small_port"]

_TABLE = "t_segments"
_RULE = "meta l4proto tcp meta length > 1000 drop"

Run = Callable[..., str]
"""Runs a command on the hypervisor and returns its output."""


@contextmanager
def large_tcp_lost(run: Run) -> Iterator[None]:
    """Drop every TCP segment over 1000 bytes on the hypervisor's bridges, and nothing else."""
    chain = f"chain f {{ type filter hook forward priority 0; {_RULE}; }};"
    run("nft", f"table bridge {_TABLE} {{ {chain} }}")
    try:
        yield
    finally:
        run("nft", "delete", "table", "bridge", _TABLE)


@contextmanager
def small_port(run: Run, port: str, mtu: int) -> Iterator[None]:
    """Give a port of a bridge this MTU: larger frames that are to leave by it are lost silently."""
    before = run("ip", "-o", "link", "show", port).partition(" mtu ")[2].split()[0]
    run("ip", "link", "set", port, "mtu", str(mtu))
    try:
        yield
    finally:
        run("ip", "link", "set", port, "mtu", before)


def bridge_port_of(run: Run, uri: str, domain: str) -> str:
    """Return the hypervisor's end of a machine's first NIC."""
    return run("virsh", "-c", uri, "domiflist", domain).splitlines()[2].split()[0]
