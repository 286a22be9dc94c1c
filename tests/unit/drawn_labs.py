"""Topologies that are hard to draw, as diagrams."""

from __future__ import annotations

from labrun.inventory.drawing.diagram import Diagram, diagram
from labrun.inventory.file.load import load_lab
from labrun.runner.views.diagram_input import draw
from tests.labs import EXAMPLES
from tests.unit.small_labs import host, lab, network
from tests.unit.twin_lab import lab_of, twins
from tests.unit.verify_cases import drawn

__all__ = ["chain", "every", "ring", "star"]


def star(arms: int = 5) -> Diagram:
    """Make one router on many networks, with 1, 4, 7 .. hosts on them."""
    networks = [network(f"n{arm}", f"10.0.{arm}.0/24") for arm in range(arms)]
    core = host("core", {f"n{arm}": f"10.0.{arm}.254/24" for arm in range(arms)}, "router")
    leaves = [
        host(f"leaf{arm}-{leaf}", {f"n{arm}": f"10.0.{arm}.{10 + leaf}/24"})
        for arm in range(arms)
        for leaf in range(1 + 3 * arm)
    ]
    return diagram(lab(networks, [core, *leaves]))


def ring(size: int = 4) -> Diagram:
    """Make routers in a circle, in both IP versions, on networks without the hypervisor."""
    networks = [
        network(f"link{at}", f"10.1.{at}.0/24", "very-isolated", f"fd00:1:{at}::/64") for at in range(size)
    ]
    routers = [
        host(
            f"r{at}",
            {
                f"link{at}": f"10.1.{at}.1/24 fd00:1:{at}::1/64",
                f"link{(at + 1) % size}": f"10.1.{(at + 1) % size}.2/24 fd00:1:{(at + 1) % size}::2/64",
            },
            "router",
        )
        for at in range(size)
    ]
    return diagram(lab(networks, routers))


def chain() -> Diagram:
    """Load the chain of the examples."""
    return diagram(load_lab(EXAMPLES / "chain.yaml"))


def crowd(size: int = 9) -> Diagram:
    """Make hosts with two NICs on the upper of two networks, and routers with two NICs on each."""
    nics = "left: 10.0.0.1{0}, l2: {{network: left, ipv4: 10.0.0.2{0}}}"
    lower = "right: 10.0.1.1{0}, r2: {{network: right, ipv4: 10.0.1.2{0}}}"
    hosts = [f"  h{n}: {{networks: {{{nics.format(n)}}}}}\n" for n in range(1, size)]
    hosts.append(f"  r: {{role: router, networks: {{{nics.format(size)}, {lower.format(size)}}}}}\n")
    networks = "networks: {left: {cidr: 10.0.0.0/24}, right: {cidr: 10.0.1.0/24}}\n"
    return diagram(lab_of(f"name: crowd\n{networks}hosts:\n{''.join(hosts)}"))


def every() -> dict[str, Diagram]:
    """Return them all by name."""
    return {
        "example": diagram(load_lab(EXAMPLES / "kvm-network-lab.yaml")),
        "broken": draw(drawn("broken")),
        "nat": diagram(load_lab(EXAMPLES / "nat.yaml")),
        "chain": chain(),
        "star": star(),
        "ring": ring(),
        "twins": diagram(twins()),
        "crowd": crowd(),
        "empty": diagram(lab([], [])),
        "alone": diagram(lab([network("n", "10.0.0.0/24")], [host("lonely", {})])),
        "long": diagram(
            lab(
                [network("a-network-with-a-name-that-does-not-end", "10.0.0.0/24")],
                [host("a-host-whose-name-is-as-long-as-dns-allows-it-to-be-sixty-three", {})],
            )
        ),
    }
