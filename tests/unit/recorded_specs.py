"""What recorded gathers were asked, as the values that they are today."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from labrun.tasks.collect.collect_spec import CollectSpec, PingSpec, TraceSpec

__all__ = ["recorded_spec", "with_spec"]


def recorded_spec(found: Mapping[str, Any]) -> CollectSpec:
    """Return the spec of a recorded gather, which says each address's IP version beside it."""
    return CollectSpec(
        traces=tuple(
            TraceSpec(
                each["to"],
                ip_address(each["address"]),
                each["hops"],
                each["wave"],
                each.get("size", 0),
                each.get("by", "udp"),
            )
            for each in found["traces"]
        ),
        pings=tuple(
            PingSpec(each["to"], ip_address(each["address"]), each["like"]) for each in found["pings"]
        ),
        settings=found["settings"],
        listeners=found.get("listeners", False),
    )


def with_spec(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded raw result, and those of its later rounds, with their specs as values."""
    later = [with_spec(each) for each in raw.get("later", ())]
    return {**raw, "spec": recorded_spec(raw["spec"]), "later": later}
