"""What is to be collected on one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from labrun.inventory.model import Address
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.configure.plan import Json

__all__ = ["CollectSpec", "PingSpec", "TraceSpec"]


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """A target that is traced, ``hops`` away, in the ``wave``-th second.

    ``size`` is the payload of the largest ping that must get through, 0 where nobody knows it.
    """

    to: str
    address: Address
    hops: int
    wave: int = 0
    size: int = 0
    by: Literal["udp", "echo"] = "udp"


@dataclass(frozen=True, slots=True)
class PingSpec:
    """A target that is only pinged.

    ``like`` names the traced one whose way it shares, None where nothing should get there.
    """

    to: str
    address: Address
    like: str | None = None


@dataclass(frozen=True, slots=True)
class CollectSpec:
    """Everything that one host is asked.

    ``settings`` is by section what its resource wants to compare; ``listeners`` asks for its UDP sockets.
    """

    traces: tuple[TraceSpec, ...] = ()
    pings: tuple[PingSpec, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))
    checks: tuple[CheckSpec, ...] = ()
    listeners: bool = False

    def without_settings(self) -> CollectSpec:
        """Return it for a host whose settings somebody else reads."""
        return replace(self, settings=MappingProxyType({}))

    def narrowed(self, wanted: Callable[[str], bool], checks: tuple[CheckSpec, ...] = ()) -> CollectSpec:
        """Return it for some targets alone, all asked at once, and for these checks."""
        return replace(
            self,
            traces=tuple(replace(trace, wave=0) for trace in self.traces if wanted(trace.to)),
            pings=tuple(replace(ping, like=None) for ping in self.pings if wanted(ping.to)),
            checks=checks,
            listeners=False,
        )
