"""What labrun puts on a machine of the fleet: itself, in a folder per version, keys, and a worker."""

from __future__ import annotations

import hashlib
import platform
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from labrun.runner.engine.fleet.certificates import Bundle
from labrun.runner.engine.fleet.model import LOOPBACK, Fleet, Machine
from labrun.runner.engine.fleet.ssh import on_machine, ssh_command
from labrun.runner.engine.fleet.wheel import Wheel
from labrun.runner.engine.fleet.worker import CERTIFICATE
from labrun.tasks.guest.scripts import assigned, hypervisor_script

__all__ = ["BASE", "Remote"]

BASE: Final = ".local/share/labrun/fleet"
"""Where everything is, below the home of the machine's user."""
_INSTALL_SECONDS: Final = 1800.0
_MARK: Final = "ready"

_LOOK = f"""\
cat -- "$HOME/{BASE}/$1/{_MARK}" 2>/dev/null || :
"""
_PUT = f"""\
umask 077
mkdir -p -- "$HOME/{BASE}/$1" && cd -- "$HOME/{BASE}/$1" || exit 1
cat > ".$2.$$" && mv -f -- ".$2.$$" "$2"
"""
_UNPACK = f"""\
umask 077
mkdir -p -- "$HOME/{BASE}/$1" && cd -- "$HOME/{BASE}/$1" && tar -xf -
"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A machine of a fleet, over SSH. Every method raises LabrunError, TransportError if ssh gets nowhere."""

    fleet: Fleet
    machine: Machine

    def install(self, wheel: Wheel, pins: Mapping[str, str], packages: Path | None) -> bool:
        """Install the wheel into its folder, unless it is there. Return whether it was installed.

        ``pins`` are the versions of packages that it gets. They come from the folder ``packages``, None =
        from where the machine's pip has them.
        """
        lines = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
        mark = f"{wheel.source} {hashlib.sha256(lines.encode()).hexdigest()}"
        if self._run(_LOOK, wheel.folder).strip() == mark:
            return False
        self._put(f"packages/{wheel.folder}", wheel.name, wheel.content)
        self._put(f"packages/{wheel.folder}", "constraints.txt", lines.encode())
        if packages is not None:
            self._run(_UNPACK, f"packages/{wheel.folder}/wheels", stdin=_packed(packages), seconds=600)
        python = ".".join(platform.python_version_tuple()[:2])
        self._run(_script("fleet_install"), wheel.folder, wheel.name, python, mark, seconds=_INSTALL_SECONDS)
        return True

    def put_key(self, lab: str, key: bytes) -> bool:
        """Put a lab's private key there (mode 0600), unless it is. Return whether it was put there."""
        return self._put_once(f"keys/{lab}", "id_ed25519", key)

    def put_certificate(self, files: Bundle) -> bool:
        """Put the machine's certificate and key there, unless they are. Return whether any was put there."""
        folder, put = self._certificates, False
        for name, path in (
            ("authority.crt", files.authority),
            (f"{CERTIFICATE}.crt", files.certificate),
            (f"{CERTIFICATE}.key", files.key),
        ):
            put |= self._put_once(folder, name, path.read_bytes())
        return put

    def forget(self, *, wheels: bool) -> list[str]:
        """Remove keys and certificates, with ``wheels`` everything. Return what there was."""
        names = ["keys", self._certificates]
        if wheels:
            listed = self._run(f'ls -A -- "$HOME/{BASE}" 2>/dev/null || :').splitlines()
            names += [name for name in listed if name[:1].isdigit()] + ["packages"]
        return self._run(_script("fleet_remove"), *names).splitlines()

    def worker_command(self, folder: str) -> list[str]:
        """Return the command that runs the worker of a version for as long as it runs itself."""
        is_tls = self.fleet.carried == "tls"
        arguments = [
            self.fleet.scheduler,
            self.machine.host if is_tls else LOOPBACK,
            str(self.machine.port),
            self.machine.name,
        ]
        base = f'"$HOME"/{BASE}'
        program = f"{base}/{shlex.quote(folder)}/bin/python -P -m labrun.runner.engine.fleet.worker"
        words = [program, f"{base}/keys", *map(shlex.quote, arguments)]
        if is_tls:
            words.append(f"{base}/{shlex.quote(self._certificates)}")
        script = shlex.join(["sh", "-c", f"exec {' '.join(words)}"])
        return ssh_command(self.fleet, self.machine, is_carrier=not is_tls, script=script)

    @property
    def _certificates(self) -> str:
        return f"certificates/{self.fleet.id}-{self.machine.word}"

    def _put_once(self, folder: str, name: str, content: bytes) -> bool:
        digest = hashlib.sha256(content).hexdigest()
        look = f'cd -- "$HOME/{BASE}/$1" 2>/dev/null && sha256sum < "$2" 2>/dev/null || :'
        if self._run(look, folder, name).partition(" ")[0] == digest:
            return False
        self._put(folder, name, content)
        return True

    def _put(self, folder: str, name: str, content: bytes) -> None:
        self._run(_PUT, folder, name, stdin=content, seconds=300)

    def _run(self, script: str, *arguments: str, stdin: bytes = b"", seconds: float = 60) -> str:
        return on_machine(self.fleet, self.machine, script, *arguments, stdin=stdin, seconds=seconds)


def _script(name: str) -> str:
    return assigned({"base": BASE, "ready": _MARK}) + hypervisor_script(name)


def _packed(packages: Path) -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(packages.glob("*.whl")):
            archive.add(path, path.name)
    return out.getvalue()
