"""tcpdump at several devices at once: started, read as they write, and ended so that nothing is lost."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from labrun.errors import HypervisorError, UsageError
from labrun.tasks.provision.far_tcpdump import begin_far, far_command
from labrun.tasks.provision.nic_ends import NicEnd

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["TcpdumpGroup", "require_filter", "require_tcpdump"]

_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_BEGIN_SECONDS = 15.0
# A login comes first.
_FAR_SECONDS = 60.0
_END_SECONDS = 5.0
# What it has seen comes over a login that may be slow.
_FAR_END_SECONDS = 30.0
_CHUNK = 65536
# How long the packets that several see are put in order for (seconds).
_MOMENT = 0.02
_DROPPED = re.compile(r"^(\d+) packets? dropped by kernel", re.MULTILINE)
_IS_LISTENING = "listening on"
_QUIET = re.compile(
    r"^(tcpdump: listening on|tcpdump: verbose output|listening on|\d+ packets? |dropped privs|$)"
)


def require_tcpdump() -> str:
    """Return the path of tcpdump. Raises HypervisorError with the command that installs it."""
    found = shutil.which("tcpdump", path=_SEARCHED)
    if found is None:
        installer = "dnf" if shutil.which("dnf") and not shutil.which("apt-get") else "apt-get"
        raise HypervisorError(
            "tcpdump is not installed here",
            step="capture",
            hint=f"`sudo {installer} install tcpdump` installs it",
        )
    return found


def require_filter(words: Sequence[str]) -> None:
    """Raise UsageError with tcpdump's own words if these are no packet filter."""
    if not words:
        return
    command = [require_tcpdump(), "-y", "EN10MB", "-d", "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BEGIN_SECONDS, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no packet filter"]
        reason = said[0].removeprefix("tcpdump: ").removeprefix("can't parse filter expression: ")
        raise UsageError(
            f"{' '.join(words)!r} is not a packet filter: {reason}",
            step="capture",
            hint="as for tcpdump, such as icmp or 'tcp port 80'; man pcap-filter",
        )


@dataclass(slots=True)
class _Running:
    nic: NicEnd
    process: subprocess.Popen[bytes]
    said: bytearray = field(default_factory=bytearray)


class TcpdumpGroup:
    """A tcpdump at each of some NICs; as a context manager, none is left behind.

    ``binary`` = they write pcap, else a line for each packet, with the time in seconds since the epoch.
    ``count`` ends each after so many packets.
    """

    def __init__(
        self, nics: Sequence[NicEnd], words: Sequence[str], *, binary: bool, count: int | None = None
    ) -> None:
        self._nics, self._words, self._binary, self._count = nics, words, binary, count
        self._running: list[_Running] = []
        self._selector = selectors.DefaultSelector()
        self._ending: float | None = None
        self._end_seconds = _FAR_END_SECONDS if any(nic.far for nic in nics) else _END_SECONDS

    def __enter__(self) -> Self:
        program = require_tcpdump() if any(not nic.far for nic in self._nics) else "tcpdump"
        shape = ["-U", "-w", "-"] if self._binary else ["-l", "-n", "-tt"]
        count = [] if self._count is None else ["-c", str(self._count)]
        try:
            for number, nic in enumerate(self._nics):
                own = "tcpdump" if nic.far else program
                command = [own, "-i", nic.device, "--immediate-mode", *shape, *count, "--", *self._words]
                # Ctrl-C is for labrun, which ends them.
                process = subprocess.Popen(
                    far_command(nic.far) if nic.far else command,
                    stdin=subprocess.PIPE if nic.far else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
                self._running.append(_Running(nic, process))
                if process.stdin is not None:
                    begin_far(process.stdin, command)
                self._watch(process.stdout, number, is_output=True)
                self._watch(process.stderr, number, is_output=False)
            self._wait_until_listening()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _watch(self, stream: IO[bytes] | None, number: int, *, is_output: bool) -> None:
        if stream is not None:
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, (number, is_output))

    def _wait_until_listening(self) -> None:
        """Wait until every one sees packets. Raises HypervisorError with what one complains of."""
        seconds = _FAR_SECONDS if any(nic.far for nic in self._nics) else _BEGIN_SECONDS
        deadline = time.monotonic() + seconds
        while not all(_IS_LISTENING.encode() in each.said for each in self._running):
            for each in self._running:
                if each.process.poll() is not None and _IS_LISTENING.encode() not in each.said:
                    self._read_complaints(0.5)
                    reason = self.complaint(each.nic) or f"exit code {each.process.returncode}"
                    raise HypervisorError(f"tcpdump at {each.nic.name}: {reason}", step="capture")
            if time.monotonic() > deadline:
                raise HypervisorError(f"tcpdump did not start within {seconds:.0f} s", step="capture")
            self._read_complaints(0.1)

    def _read_complaints(self, seconds: float) -> None:
        """Read what they say, and leave their packets where they are."""
        for key, _ in self._selector.select(seconds):
            number, is_output = key.data
            if not is_output:
                self._take(key.fileobj, number, is_output=False)

    def read(self, seconds: float | None, wake: int | None = None) -> Iterator[list[tuple[int, bytes]]]:
        """Yield what they wrote within a moment, each as (number of the NIC, bytes), until they end.

        They are ended after ``seconds``, when the descriptor ``wake`` can be read, or by :meth:`end`; what
        they have seen by then still comes.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        if wake is not None:
            self._selector.register(wake, selectors.EVENT_READ)
        while any(key.data is not None for key in self._selector.get_map().values()):
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                self.end()
            if self._ending is not None and now > self._ending + self._end_seconds:
                return
            if pieces := self._round(self._patience(deadline)):
                yield pieces

    def _round(self, patience: float | None) -> list[tuple[int, bytes]]:
        """Wait for something to read, and then for what the others see of the same packet."""
        pieces: list[tuple[int, bytes]] = []
        until = None
        while ready := self._selector.select(patience):
            for key, _ in ready:
                if key.data is None:
                    self._selector.unregister(key.fileobj)
                    self.end()
                    continue
                number, is_output = key.data
                piece = self._take(key.fileobj, number, is_output=is_output)
                if piece and is_output:
                    pieces.append((number, piece))
            until = until or time.monotonic() + _MOMENT
            patience = until - time.monotonic()
            if patience <= 0 or len(self._nics) == 1:
                break
        return pieces

    def _patience(self, deadline: float | None) -> float | None:
        ends = [] if deadline is None or self._ending is not None else [deadline]
        ends += [] if self._ending is None else [self._ending + self._end_seconds]
        return max(0.0, min(ends) - time.monotonic()) + 0.01 if ends else None

    def _take(self, stream: FileDescriptorLike, number: int, *, is_output: bool) -> bytes:
        descriptor = stream if isinstance(stream, int) else stream.fileno()
        try:
            piece = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return b""
        if not piece:
            self._selector.unregister(stream)
        elif not is_output:
            self._running[number].said += piece
        return piece

    def end(self) -> None:
        """Tell them to end; they write what they have first."""
        if self._ending is None:
            self._ending = time.monotonic()
            for each in self._running:
                if each.process.stdin is not None:
                    with suppress(OSError):
                        each.process.stdin.close()
                elif each.process.poll() is None:
                    each.process.send_signal(signal.SIGINT)

    def dropped(self, nic: NicEnd) -> int:
        """Return how many packets the kernel has dropped at a NIC since nobody read them in time."""
        found = _DROPPED.search(self._said(nic))
        return int(found[1]) if found else 0

    def complaint(self, nic: NicEnd) -> str:
        """Return what a NIC's tcpdump complained of, empty if nothing.

        One on another machine that has not ended when it was told to is a complaint as well.
        """
        if nic.far and self._ending is not None and self._is_open(nic):
            return "its hypervisor has not answered: what it saw last is missing"
        lines = [line.strip() for line in self._said(nic).splitlines()]
        odd = [line for line in lines if not _QUIET.match(line) and "link-type" not in line]
        return odd[-1].removeprefix("tcpdump: ") if odd else ""

    def _is_open(self, nic: NicEnd) -> bool:
        watched = self._selector.get_map().values()
        numbers = {key.data[0] for key in watched if key.data is not None}
        return any(each.nic == nic and number in numbers for number, each in enumerate(self._running))

    def _said(self, nic: NicEnd) -> str:
        said = next((each.said for each in self._running if each.nic == nic), b"")
        return bytes(said).decode(errors="replace")

    def _close(self) -> None:
        self.end()
        for each in self._running:
            for stream in (each.process.stdout, each.process.stderr):
                if stream is not None:
                    stream.close()
            try:
                each.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
        self._selector.close()
