"""The templates that a lab file can begin with."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from labrun.inventory.starting.names import lab_name
from labrun.rendering import render_text

__all__ = ["DEFAULT", "TEMPLATES", "from_template"]

DEFAULT: Final = "two-networks"
TEMPLATES: Final = MappingProxyType(
    {
        "two-networks": "two isolated networks, and a router between them",
        "nat": "a network whose guests go out under the hypervisor's address",
        "dmz": "a firewall, a server behind it, and a network nobody may enter",
        "chain": "three routers in a row, to follow packets hop by hop",
        "dual-stack": "IPv4 and IPv6 side by side, and a host with IPv6 only",
        "existing": "machines you have already: configured, verified, never created",
    }
)
"""What each template has, by its name."""
# The names of networks and groups in the templates, which the lab cannot have.
_TAKEN: Final = frozenset(
    {
        "left",
        "right",
        "inside",
        "outer",
        "dmz",
        "inner",
        "edge1",
        "edge2",
        "link1",
        "link2",
        "backbone",
        "lan",
    }
)


def from_template(template: str, name: str) -> str:
    """Return the lab file of a template for a lab called like ``name``, which is made valid."""
    return render_text(f"lab/{template}.yaml", name=lab_name(name, _TAKEN))
