"""Everything labrun raises on purpose, as one tree.

LabrunError                     exit 1   something failed; carries host, step and hint
├── UsageError                  exit 2   the command line is invalid or cannot be run
├── LabFileError                exit 2   the lab file is invalid; carries every problem
├── HypervisorError             exit 5   libvirt refused, is not there, or lacks something
│   ├── NoLibvirtError          exit 5   this Python has no libvirt-python
│   ├── ForeignObjectError      exit 5   the name is taken by an object that is not this lab's
│   ├── HostBridgeError         exit 5   this machine's NIC cannot be put into a bridge, or taken out
│   └── EngineError             exit 5   the workers of --engine are not there, or not like this labrun
├── LockedError                 exit 1   another labrun is working on this lab
├── TransportError              exit 4   a guest cannot be used
│   ├── UnreachableError        exit 4   no route, refused, timed out
│   ├── AuthenticationError     exit 4   the guest accepted none of the keys
│   ├── HostKeyError            exit 4   the guest's host key cannot be checked
│   │   └── HostKeyChangedError exit 4   it presents a key other than the one on record
│   └── ConnectionLostError     exit 4   cut in the middle: the state of the guest is unknown
│       └── WorkerLostError     exit 4   the process that worked on the guest ended in the middle
└── CommandError                exit 1   a script in a guest ended with an error
    └── UnreadableError         exit 4   the guest's output cannot be parsed: its state is unknown
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AuthenticationError",
    "CommandError",
    "ConnectionLostError",
    "EngineError",
    "ForeignObjectError",
    "HostBridgeError",
    "HostKeyChangedError",
    "HostKeyError",
    "HypervisorError",
    "LabFileError",
    "LabrunError",
    "LockedError",
    "NoLibvirtError",
    "Problem",
    "TransportError",
    "UnreachableError",
    "UnreadableError",
    "UsageError",
    "WorkerLostError",
]


class LabrunError(Exception):
    """Report what failed, on which host, in which step, and what to do about it."""

    exit_code = 1
    is_of_machine = False
    """Whether the machine is at fault and not the lab, so that `labrun doctor` may know more."""

    def __init__(
        self,
        reason: str,
        *,
        host: str | None = None,
        step: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.host = host
        self.step = step
        self.hint = hint

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.host, self.step) if part)
        text = f"{where}: {self.reason}" if where else self.reason
        return f"{text} ({self.hint})" if self.hint else text


class UsageError(LabrunError):
    """Report a command line that cannot be run."""

    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a lab file.

    ``line`` counts from 1, 0 = the file itself, which is not there or is no text; ``path`` is dotted
    (``hosts.host01.networks.network1``), empty for the whole file.
    """

    line: int
    path: str
    what: str
    hint: str | None = None

    def render(self, source: str) -> str:
        """Return ``lab.yaml:LINE: PATH: problem (hint)``."""
        path = f" {self.path}:" if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        line = f":{self.line}" if self.line else ""
        return f"{source}{line}:{path} {self.what}{hint}"


class LabFileError(LabrunError):
    """Report every problem of a lab file at once; ``text`` is the file's, empty if it could not be read."""

    exit_code = 2

    def __init__(self, source: str, problems: tuple[Problem, ...]):
        self.text = ""
        self.source = source
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(problem.render(source) for problem in self.problems))


class HypervisorError(LabrunError):
    """Report that libvirt refused, or that the hypervisor cannot do what the lab needs."""

    exit_code = 5
    is_of_machine = True


class NoLibvirtError(HypervisorError):
    """Report that this Python has no libvirt-python: no hypervisor can be asked for anything."""


class ForeignObjectError(HypervisorError):
    """Report a libvirt object that has a name of the lab's but not its tag."""

    is_of_machine = False


class HostBridgeError(HypervisorError):
    """Report why a NIC of this machine is not put into a bridge, or not taken out of one."""

    is_of_machine = False


class EngineError(HypervisorError):
    """Report that the workers of an engine are not there, or are not like this labrun."""

    is_of_machine = False


class LockedError(LabrunError):
    """Report the holder of the lab's lock."""


class TransportError(LabrunError):
    """Report that a guest cannot be used."""

    exit_code = 4


class UnreachableError(TransportError):
    """Report that no connection could be made."""


class AuthenticationError(TransportError):
    """Report that the guest accepted none of the keys."""


class HostKeyError(TransportError):
    """Report a host key that is not the one in the lab's known_hosts."""


class HostKeyChangedError(HostKeyError):
    """Report a host that presents a key other than the one on record for it."""


class JumpHostError(TransportError):
    """Report a jump host that refuses the login, or the connection to the host behind it."""


class ConnectionLostError(TransportError):
    """Report a connection that broke while a script ran. What the script did is unknown."""


class WorkerLostError(ConnectionLostError):
    """Report a worker that ended while it worked on the host. What it did there is unknown."""


class CommandError(LabrunError):
    """Report a script that ended with an error in a guest."""


class UnreadableError(CommandError):
    """Report guest output that cannot be parsed; ``step`` names the output."""

    exit_code = 4

    def on(self, host: str) -> str:
        """Return the reason, prefixed with output and host: ``ip address on web: not JSON``."""
        return f"{self.step or 'what it showed'} on {host}: {self.reason}"
