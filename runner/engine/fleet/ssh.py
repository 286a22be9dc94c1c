"""Scripts on the machines of a fleet, over the user's own ssh: strict host keys, and nothing asked."""

from __future__ import annotations

import shlex
import subprocess
from typing import Final

from labrun.errors import AuthenticationError, HostKeyError, LabrunError, UnreachableError
from labrun.runner.engine.fleet.model import LOOPBACK, Fleet, Machine

__all__ = ["on_machine", "refused", "ssh_command"]

_CONNECT_SECONDS: Final = 20
_FAILED: Final = 255  # ssh's own exit code
_OPTIONS: Final = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(_CONNECT_SECONDS),
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "ExitOnForwardFailure": "yes",
    "ClearAllForwardings": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ControlPath": "none",
}
_WORDS: Final = (
    ("host key verification failed", HostKeyError, "check the key, and add it to known_hosts"),
    ("no host key is known", HostKeyError, "check the key, and add it to known_hosts"),
    ("identification has changed", HostKeyError, "check the key, and correct known_hosts"),
    ("permission denied", AuthenticationError, "ssh must get in with a key and without questions"),
    ("forwarding failed", UnreachableError, "another program has the port; `labrun fleet init --port`"),
    ("cannot listen to port", UnreachableError, "another program has the port; `labrun fleet init --port`"),
)


def ssh_command(
    fleet: Fleet, machine: Machine, *options: str, is_carrier: bool = False, script: str
) -> list[str]:
    """Return the command that runs a script on a machine.

    ``is_carrier`` adds the ports that the connection carries: the scheduler's there, the worker's here.
    """
    files = {"IdentityFile": fleet.identity, "UserKnownHostsFile": fleet.known_hosts}
    settings = {**_OPTIONS, **{name: f'"{path}"' for name, path in files.items() if path is not None}}
    if fleet.identity is not None:
        settings["IdentitiesOnly"] = "yes"
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    if machine.ssh_port is not None:
        words += ["-p", str(machine.ssh_port)]
    if is_carrier:
        words += ["-R", f"{LOOPBACK}:{fleet.port}:{LOOPBACK}:{fleet.port}"]
        words += ["-L", f"{LOOPBACK}:{machine.port}:{LOOPBACK}:{machine.port}"]
    return ["ssh", "-T", *options, *words, "-l", machine.user, "--", machine.host, script]


def on_machine(
    fleet: Fleet,
    machine: Machine,
    script: str,
    *arguments: str,
    stdin: bytes = b"",
    seconds: float = 60,
) -> str:
    """Run a script of sh's on a machine with these arguments, and return what it printed.

    Raises TransportError if ssh does not get in, LabrunError if the script fails or takes longer.
    """
    remote = shlex.join(["sh", "-c", script, "labrun", *arguments])
    command = ssh_command(fleet, machine, script=remote)
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabrunError(f"not finished after {seconds:g} s", host=machine.name) from error
    except OSError as error:
        raise LabrunError(f"cannot start ssh: {error.strerror}", hint="install openssh-client") from error
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode == _FAILED:
        raise refused(machine, errors)
    if done.returncode:
        raise LabrunError(_last_line(errors) or f"exit {done.returncode}", host=machine.name)
    return done.stdout.decode("utf-8", "replace")


def refused(machine: Machine, errors: str, otherwise: str = "") -> LabrunError:
    """Return why ssh did not get in, from what it wrote.

    With ``otherwise``, what ssh does not say of itself is an error of the program there: that it did this.
    """
    text = errors.lower()
    for words, kind, hint in _WORDS:
        if words in text:
            return kind(_last_line(errors), host=machine.name, hint=hint)
    if otherwise and not text.rpartition("\n")[2].startswith(("ssh:", "kex", "connection")):
        return LabrunError(f"{otherwise}: {_last_line(errors)}", host=machine.name)
    return UnreachableError(_last_line(errors) or "ssh ended", host=machine.name)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
