"""Full segments from a host to another's sshd: the script that sends them, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

from labrun.bounded import integer
from labrun.inventory.topology.segments import SegmentTrial
from labrun.tasks.collect.collect_spec import SegmentSpec
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured

__all__ = [
    "BYTES",
    "SegmentTry",
    "read_segment",
    "segment_script",
    "segment_seconds",
    "segment_specs",
    "segments_by_hand",
]

BYTES: Final = 8000
"""What is sent: several full segments at an MTU of 1500, and less than the 8192 that sshd waits for."""
_SECONDS: Final = 40.0
"""How long one trial may take if everything gets lost."""
_AT_ONCE: Final = 4
_ACKED: Final = re.compile(r"\bbytes_acked:(\d{1,12})\b")
_MOST: Final = 4096

Stream = Literal["arrived", "lost", "silent", "refused", "untried"]


@dataclass(frozen=True, slots=True)
class SegmentTry:
    """What became of a trial.

    ``ping`` is the payload in bytes of the largest ping that was answered, 0 for none, None if it was not
    tried. ``stream`` is ``lost`` if the connection came about and then carried nothing, ``silent`` if it did
    not come about. ``missing`` is the tool without which it was ``untried``.
    """

    ping: int | None
    stream: Stream
    missing: str = ""


def segment_specs(trials: Sequence[SegmentTrial], host: str) -> tuple[SegmentSpec, ...]:
    """Return what a host has to send."""
    return tuple(
        SegmentSpec(each.target, each.network, each.address, each.port, each.payload)
        for each in trials
        if each.source == host
    )


def segment_script(specs: Sequence[SegmentSpec]) -> Iterator[str]:
    """Yield the shell text that sends; it needs ``$tmp``."""
    if not specs:
        return
    yield assigned({"segment_bytes": BYTES}) + guest_script("segments")
    calls = [
        f"segment {number} {ip_address(each.address)} {each.port:d} {each.payload:d} &\n"
        for number, each in enumerate(specs)
    ]
    for start in range(0, len(calls), _AT_ONCE):
        yield "".join(calls[start : start + _AT_ONCE]) + "wait\n"
    for number in range(len(specs)):
        yield f'capture "segment {number}" cat "$tmp/segment.{number}"\n'


def segments_by_hand(spec: SegmentSpec) -> Iterator[str]:
    """Yield the commands a person would type to try the same."""
    yield f"ping -c 1 -M do -s {spec.payload} {spec.address}   # {spec.to}, full size"
    yield f"printf %0{BYTES}d 0 | nc {spec.address} {spec.port}   # {spec.to}; `ss -ti` shows bytes_acked"


def segment_seconds(specs: Sequence[SegmentSpec]) -> float:
    """Return how long they may take if everything gets lost."""
    return _SECONDS * -(-len(specs) // _AT_ONCE)


def read_segment(captured: Captured | None) -> SegmentTry | None:
    """Return what became of one trial, None if its output is not there."""
    lines = captured.text[:_MOST].splitlines() if captured is not None else []
    if not lines or not lines[0].startswith("ping "):
        return None
    said = lines[0].removeprefix("ping ")
    ping = 0 if said == "lost" else integer(said, most=65535)
    if len(lines) > 1 and lines[1].startswith("tcp none "):
        return SegmentTry(ping, "untried", lines[1].removeprefix("tcp none ")[:20])
    socket = next((line for line in lines if line.startswith("tcp socket ")), "")
    acked = _ACKED.search(socket)
    connected = acked is not None or " ESTAB " in socket or " CLOSE-WAIT " in socket
    if any("refused" in line for line in lines):
        return SegmentTry(ping, "refused")
    if acked is not None and int(acked[1]) >= BYTES:
        return SegmentTry(ping, "arrived")
    if connected and "tcp ended" in lines:
        # The sshd hung up: it has read something, and it reads nothing of what arrives broken.
        return SegmentTry(ping, "arrived")
    return SegmentTry(ping, "lost" if connected else "silent")
