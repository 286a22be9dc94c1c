"""Run shell as root on a hypervisor: beside a local libvirtd, or over the SSH login of a remote one's URI."""

from __future__ import annotations

import os
import shlex
import subprocess

from labrun.errors import HypervisorError
from labrun.hypervisor import in_daemon_network, is_local
from labrun.inventory.hosts.hypervisor_login import hypervisor_login

__all__ = ["root_shell", "run_as_root", "typed_on"]

_SECONDS = 60
_ROOT = 'if [ "$(id -u)" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'
_PATH = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8\n"


def root_shell(uri: str, step: str = "tunnel") -> list[str]:
    """Return the command that reads a script from its input and runs it there as root.

    Raises HypervisorError, with ``step``, if labrun has no way to do so.
    """
    if is_local(uri):
        if os.geteuid() != 0:
            raise HypervisorError("labrun is not running as root here", step=step, hint="sudo labrun ...")
        return ["sh", "-s"]
    login = hypervisor_login(uri)
    if login is None:
        raise HypervisorError(
            f"no SSH login leads to {uri}", step=step, hint="qemu+ssh://user@host/system has one"
        )
    return [*login.ssh_words(), "-o", "BatchMode=yes", login.host, _ROOT]


def run_as_root(uri: str, script: str, step: str = "tunnel", seconds: float = _SECONDS) -> str:
    """Run a script there and return its output. Raises HypervisorError with what it complained of."""
    try:
        done = subprocess.run(
            root_shell(uri, step),
            input=_PATH + script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"no shell on {uri}: {error}", step=step) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line]
        raise HypervisorError(
            said[-1] if said else f"the script ended with exit code {done.returncode}", step=step
        )
    return done.stdout


def typed_on(uri: str, script: str) -> str:
    """Return a script as one would type it on this machine."""
    shell = [*in_daemon_network(uri), "sh", "-s"] if is_local(uri) else root_shell(uri)
    return f"{shlex.join(shell)} <<'SH'\n{script.rstrip()}\nSH"
