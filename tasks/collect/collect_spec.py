"""What to collect on one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from labrun.inventory.model import Address
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.configure.plan import Json

__all__ = ["CollectSpec", "PingSpec", "SegmentSpec", "TraceSpec"]


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """A target to trace, ``hops`` away, started in second ``wave``.

    ``size`` is the payload of the largest ping that must get through, 0 if unknown.
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

    ``like`` names the traced target whose path it shares, None if nothing should get there.
    """

    to: str
    address: Address
    like: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """A host to whose sshd on a network full segments are sent; ``payload`` is that of a full-size ping."""

    to: str
    network: str
    address: Address
    port: int
    payload: int


@dataclass(frozen=True, slots=True)
class CollectSpec:
    """Everything to collect on one host.

    ``settings`` maps sections to the desired values of their resources; ``listeners`` asks for UDP sockets,
    ``macs`` for others that claim the addresses of these NICs.
    """

    traces: tuple[TraceSpec, ...] = ()
    pings: tuple[PingSpec, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))
    checks: tuple[CheckSpec, ...] = ()
    listeners: bool = False
    macs: tuple[str, ...] = ()
    segments: tuple[SegmentSpec, ...] = ()

    def without_settings(self) -> CollectSpec:
        """Return the spec for a host whose settings are read elsewhere."""
        return replace(self, settings=MappingProxyType({}))

    def narrowed(self, wanted: Callable[[str], bool], checks: tuple[CheckSpec, ...] = ()) -> CollectSpec:
        """Return the spec for some targets only, all traced at once, and for these checks."""
        return replace(
            self,
            traces=tuple(replace(trace, wave=0) for trace in self.traces if wanted(trace.to)),
            pings=tuple(replace(ping, like=None) for ping in self.pings if wanted(ping.to)),
            checks=checks,
            listeners=False,
            segments=(),
        )
