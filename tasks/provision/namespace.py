"""Access to a running container through its namespaces, which needs neither network nor login."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from labrun.containers import container_init
from labrun.errors import ConnectionLostError, UnreachableError
from labrun.ports import Completed

__all__ = ["NamespaceTransport"]


@dataclass(frozen=True, slots=True)
class NamespaceTransport:
    """Run scripts as root inside a container, by ``nsenter`` from the hypervisor itself."""

    host: str
    controller: int

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``/bin/sh`` in the container; ``sudo`` has no effect, it is root already."""
        del sudo
        init = container_init(self.controller)
        if init is None:
            raise UnreachableError("the container is not running", host=self.host, step="namespace")
        command = ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "-C", "--", "/bin/sh", "-s"]
        began = time.monotonic()
        try:
            done = subprocess.run(
                command,
                input=script.encode(),
                capture_output=True,
                timeout=timeout,
                check=False,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired as error:
            raise ConnectionLostError(
                f"no end after {timeout:g} s", host=self.host, step="namespace"
            ) from error
        return Completed(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
            time.monotonic() - began,
        )
