"""Work in a fork of a lab (`-f NAME`): find it, and move this process into its namespaces."""

from __future__ import annotations

import os
from dataclasses import replace

from labrun.errors import HypervisorError, UsageError
from labrun.other_namespaces import enter_mounts
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.tasks.forks.namespace import daemon_of, state_folder
from labrun.tasks.provision.snapshot_store import FORKS, Snapshot

__all__ = ["enter_fork", "fork_of", "in_fork"]

_OF_THE_MACHINE = ("image", "host-bridge", "doctor", "list", "schedule", "schema", "completion")


def in_fork(invocation: Invocation) -> Invocation:
    """Move into the fork that ``-f`` names, and return the invocation as it is there.

    Raises UsageError for an unknown fork, HypervisorError if it does not run.
    """
    if invocation.fork is None:
        return invocation
    verb = invocation.command.split()[0]
    if verb in ("fork", "drop"):
        raise UsageError("a fork has no forks", step="-f", hint="leave -f out")
    if verb in _OF_THE_MACHINE:
        raise UsageError(f"`{verb}` is about this machine, not about a lab", step="-f", hint="leave -f out")
    return enter_fork(invocation, fork_of(invocation, invocation.fork))


def fork_of(invocation: Invocation, name: str) -> Snapshot:
    """Return the fork of the lab file's lab. Raises UsageError, LabFileError."""
    if invocation.lab == "-":
        raise UsageError("-f needs the lab file's name, and standard input has none", step="-f")
    return FORKS.find(load(invocation, quiet=True).name, name)


def enter_fork(invocation: Invocation, fork: Snapshot) -> Invocation:
    """Move this process, which has one thread, into a fork's mounts; its network follows with libvirtd's.

    Return the invocation with the fork's state directory. Raises HypervisorError.
    """
    if os.geteuid() != 0:
        raise HypervisorError("a fork needs root", step="-f", hint="run labrun as root")
    pid = daemon_of(fork)
    if pid is None:
        raise HypervisorError(
            f"the fork {fork.name} is not running: it ends with the machine that it is on",
            step="-f",
            hint=f"`labrun drop {fork.name}`, then `labrun fork {fork.name}`",
        )
    enter_mounts(pid)
    return replace(invocation, state_dir=state_folder(fork), history=None)
