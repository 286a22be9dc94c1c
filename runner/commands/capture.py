"""`labrun capture HOST[:NIC]`: the packets at NICs, decoded, in a file or in a pipe."""

from __future__ import annotations

import datetime
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from labrun.errors import HypervisorError, LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.nic_words import complete_nic, leading_nics
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import is_reader_gone, printable, say, write
from labrun.runner.engine.by_hypervisor import ends_of
from labrun.runner.engine.session import open_session
from labrun.runner.verb import Terminated, verb

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.tasks.provision.nic_ends import NicEnd
    from labrun.tasks.provision.tcpdump import TcpdumpGroup


@verb("capture")
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="HOST[:NIC]... [FILTER]",
    shell_complete=complete_nic,
)
@click.option("--output", "-o", type=OutputFile(), metavar="FILE", help="Write the packets to this file.")
@click.option("--count", "-c", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
def command(invocation: Invocation, words: tuple[str, ...], output: Path | None, count: int | None) -> Report:
    """Show the packets at hosts' NICs, or write them to a file.

    tcpdump runs on the hypervisor's side of the NICs, so nothing is needed in the hosts. HOST alone means
    all of its NICs; FILTER is in tcpdump's syntax: icmp, 'tcp port 80'. Ctrl-C, --count or --timeout end it.
    """
    from labrun.tasks.provision.tcpdump import TcpdumpGroup, require_filter

    session = open_session(invocation)
    named, pattern = leading_nics(session.lab, words)
    if not session.uri:
        raise LabrunError("the lab has no NICs on a hypervisor", step="capture", hint=session.why_uri)
    ends = ends_of(session, named, does="capture")
    nics = ends.found
    # Where all are on other machines, none is needed here: the first tcpdump there says what is wrong.
    with suppress(HypervisorError) if nics and all(nic.far for nic in nics) else nullcontext():
        require_filter(pattern)
    if not nics:
        return Report(session.lab.name, ends.unknown_rows("capture"), extra={"packets": []})
    invocation.interruption.hosts = ()
    seen = _Seen(nics, count, keeps_lines=invocation.json)
    group = TcpdumpGroup(nics, pattern, binary=output is not None, count=count)
    with _signals(invocation) as wake, group:
        if not invocation.quiet:
            say(f"capturing at {', '.join(nic.name for nic in nics)}; Ctrl-C stops")
        if output is None:
            _show(seen, group, invocation, wake)
        else:
            place = Path("/dev/stdout") if is_stdout(output) else output
            parts = _file(seen, group, invocation, wake)
            write_output(place, parts, grows=True, kind="the packets to ")
        rows = [_row(nic, seen.counts[number], group) for number, nic in enumerate(nics)]
    rows += ends.unknown_rows("capture")
    text = None if invocation.json else _summary(rows, sum(seen.counts), invocation)
    if is_stdout(output):
        say(text or "")
        text = ""
    extra: JsonObject = {"packets": seen.lines} if output is None else {"output": str(output)}
    return Report(session.lab.name, rows, extra=extra, text=text)


@dataclass(slots=True)
class _Seen:
    """What was seen so far: the number of packets at each NIC and, for a document, a line for each."""

    nics: Sequence[NicEnd]
    most: int | None
    keeps_lines: bool
    counts: list[int] = field(init=False)
    lines: list[JsonObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.nics)

    def take(self, number: int) -> bool:
        """Count a packet; return False for one that is beyond the number asked for."""
        if self.most is not None and sum(self.counts) >= self.most:
            return False
        self.counts[number] += 1
        return True

    @property
    def is_full(self) -> bool:
        return self.most is not None and sum(self.counts) >= self.most


def _show(seen: _Seen, group: TcpdumpGroup, invocation: Invocation, wake: int) -> None:
    """Write a line for each packet as it arrives."""
    rest = [b""] * len(seen.nics)
    width = max(len(nic.name) for nic in seen.nics) + 2 if len(seen.nics) > 1 else 0
    for pieces in group.read(invocation.timeout, wake):
        found: list[tuple[str, int, str]] = []
        for number, piece in pieces:
            *lines, rest[number] = (rest[number] + piece).split(b"\n")
            for line in lines:
                moment, _, what = line.decode(errors="replace").partition(" ")
                # When it is terminated, tcpdump writes an empty line.
                found += [(moment, number, what)] if line else []
        for moment, number, what in sorted(found):
            if not seen.take(number):
                break
            if seen.keeps_lines:
                seen.lines.append(_packet(seen.nics[number], moment, what))
            else:
                at = seen.nics[number].name.ljust(width) if width else ""
                write(f"{at}{_clock(moment)} {printable(what)}\n")
        if seen.is_full or is_reader_gone():
            group.end()


def _file(seen: _Seen, group: TcpdumpGroup, invocation: Invocation, wake: int) -> Iterator[bytes]:
    """Yield the packets as a pcap file, or as pcapng if they are of several NICs."""
    from labrun.tasks.provision.pcap_files import PcapReader, block_of, pcap_record, pcapng_head

    readers = [PcapReader() for _ in seen.nics]
    several = len(readers) > 1
    if several:
        yield pcapng_head([nic.name for nic in seen.nics])
    for pieces in group.read(invocation.timeout, wake):
        for number, piece in pieces:
            is_new = not readers[number].head
            try:
                packets = readers[number].feed(piece)
            except ValueError as error:
                raise LabrunError(str(error), step="capture") from error
            if is_new and not several:
                yield readers[number].head
            taken = [packet for packet in packets if seen.take(number)]
            yield b"".join(block_of(number, each) if several else pcap_record(each) for each in taken)
        if seen.is_full:
            group.end()


def _row(nic: NicEnd, count: int, group: TcpdumpGroup) -> Outcome:
    actual = f"{count} packet{'' if count == 1 else 's'}"
    if why := group.complaint(nic):
        return Outcome(nic.host, "capture", nic.nic, Status.UNKNOWN, actual=actual, why=why)
    if lost := group.dropped(nic):
        why = f"{lost} more were dropped: they arrived faster than they were read"
        return Outcome(nic.host, "capture", nic.nic, Status.WARNING, actual=actual, why=why)
    return Outcome(nic.host, "capture", nic.nic, Status.OK, actual=actual)


def _summary(rows: Sequence[Outcome], total: int, invocation: Invocation) -> str:
    lines = [
        f"{row.host}:{row.name}: {row.actual}" + (f" ({row.why})" if row.why else "")
        for row in rows
        if len(rows) > 1 or row.why
    ]
    lines.append(f"{total} packet{'' if total == 1 else 's'} in {invocation.seconds:.1f} s")
    return "".join(f"{printable(line)}\n" for line in lines)


def _packet(nic: NicEnd, moment: str, what: str) -> JsonObject:
    return {"host": nic.host, "network": nic.nic, "time": _utc(moment), "packet": what}


def _utc(moment: str) -> str:
    try:
        found = datetime.datetime.fromtimestamp(float(moment), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return moment
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _clock(moment: str) -> str:
    try:
        seconds = float(moment)
        return time.strftime("%H:%M:%S", time.localtime(seconds)) + f"{seconds % 1:.6f}"[1:]
    except (ValueError, OverflowError, OSError):
        return moment


@contextmanager
def _signals(invocation: Invocation) -> Iterator[int]:
    """Yield a descriptor that can be read once Ctrl-C or SIGTERM has come, in place of their exceptions.

    A second one ends the command as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LabrunError("a capture runs in the main thread only")
    reader, writer = os.pipe()

    def note(number: int, _frame: FrameType | None) -> None:
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if invocation.interruption.came:
            raise kind
        invocation.interruption.signal = kind()
        os.write(writer, b"x")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
