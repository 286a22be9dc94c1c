"""What travels between the controller and its workers: frozen values that ``codec`` turns into JSON and back.

No Task, Host or Result of Nornir's is among them, no key and no secret: a key is named by its path on the
worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

__all__ = [
    "Event",
    "Failure",
    "HostOutcome",
    "HostSpec",
    "Limits",
    "Progress",
    "Shard",
    "TaskRef",
    "Versions",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host, as a worker needs it to log in and to run a task on it.

    ``address`` None = it has none, and ``data`` says why. ``key_file`` and ``known_hosts`` are paths on the
    worker, None = those of its user. ``host_keys`` are the keys that the host may present, each as type and
    base64; a worker uses them where ``known_hosts`` is None. ``options`` are those of labrun's login, plain
    values by name. ``data`` is the host's data in Nornir, the input of the task with it, in types that the
    codec knows. ``jump`` is the host that it is reached through, without the input of a task.
    """

    name: str
    address: str | None = None
    port: int = 22
    user: str | None = None
    key_file: str | None = None
    known_hosts: str | None = None
    host_keys: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    data: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    jump: HostSpec | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker keeps to: hosts at a time, logins at a time, seconds for each host (None = no limit)."""

    workers: int
    connectors: int
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task of labrun's and how it is called: ``function`` is ``module:name``, ``params`` are plain values.

    ``run`` is the run's ID, ``attempt`` counts from 1. With ``reads``, a signal drops the hosts in progress.
    Only what ``repeats`` may be attempted again where a worker is lost.
    """

    function: str
    params: Mapping[str, Any]
    limits: Limits
    dry_run: bool = False
    run: str = ""
    attempt: int = 1
    reads: bool = False
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """One task on some hosts, for one worker, which is named as in :meth:`ShardEngine.start`.

    ``name`` is unique in the life of an engine: ``RUN/ATTEMPT/NUMBER``.
    """

    name: str
    worker: str
    task: TaskRef
    hosts: tuple[HostSpec, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as plain text: ``kind`` is the name of its class, ``cause`` what it was raised from.

    ``step`` and ``hint`` are those of a LabrunError.
    """

    kind: str
    reason: str
    step: str | None = None
    hint: str | None = None
    cause: Failure | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A host has entered a stage, as for :func:`labrun.progress.report`."""

    shard: str
    host: str
    stage: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """How a task ended on one host: its ``result``, or the ``failure``.

    ``failed``, ``changed`` and ``diff`` are those of Nornir's Result. ``port`` is where the login worked,
    None without one. With ``lost`` the worker has ended before the host did: nobody knows what was done.
    """

    shard: str
    host: str
    result: Any = None
    failure: Failure | None = None
    failed: bool = False
    changed: bool = False
    diff: str = ""
    port: int | None = None
    lost: bool = False


Event: TypeAlias = Progress | HostOutcome


@dataclass(frozen=True, slots=True)
class Versions:
    """What has to be the same in the controller and in its workers.

    ``packages`` maps the packages that tasks use to their versions, empty = not installed.
    """

    labrun: str
    python: str
    packages: Mapping[str, str]

    def differences(self, other: Versions) -> Sequence[str]:
        """Return what differs in ``other``, such as ``nornir 3.5.0 instead of 3.6.0``."""
        pairs = [("labrun", self.labrun, other.labrun), ("Python", self.python, other.python)]
        names = sorted({*self.packages, *other.packages})
        pairs += [(name, self.packages.get(name, ""), other.packages.get(name, "")) for name in names]
        return [
            f"{name} {has or 'missing'} instead of {own or 'none'}" for name, own, has in pairs if own != has
        ]
