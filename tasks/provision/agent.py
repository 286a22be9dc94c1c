"""Access to a running VM through the QEMU guest agent, which needs neither network nor login."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import Any

from labrun.bounded import address, as_integer, as_object
from labrun.errors import (
    CommandError,
    ConnectionLostError,
    TransportError,
    UnreachableError,
    UnreadableError,
)
from labrun.json_values import JsonObject
from labrun.libvirt_calls import watch
from labrun.ports import Completed, Lease
from labrun.tasks.guest.output import require_size
from labrun.tasks.guest.scripts import wrapped
from labrun.tasks.judging import understood

__all__ = ["CHANNEL", "AgentTransport", "agent_leases", "is_agent_connected"]

CHANNEL = "org.qemu.guest_agent.0"
_WHAT = "guest agent"
_ANSWER_SECONDS = 10
_FIRST_POLL, _LONGEST_POLL = 0.02, 0.25
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
# libvirt 9.0 loses requests of about 200 KB and more on the way to the agent, and later ones with them.
_LARGEST_INPUT = 48 * 1024
_MAKE_FILE = "umask 077; mktemp /run/labrun-script.XXXXXX"
_RUN_FILE = 'exec 3<"$0"; rm -f "$0"; exec /bin/sh -s <&3 3<&-'
_KILL = 'kill -s KILL -- "-$0" 2>/dev/null || kill -s KILL "$0"'


def is_agent_connected(domain: Any) -> bool:
    """Tell whether the guest's agent has opened its end of the channel."""
    target = ET.fromstring(domain.XMLDesc(0)).find(  # noqa: S314 - libvirt's own output
        f"./devices/channel/target[@name='{CHANNEL}']"
    )
    return target is not None and target.get("state") == "connected"


@dataclass(frozen=True, slots=True)
class AgentTransport:
    """Run scripts as root in a VM through its agent; ``domain`` is libvirt's handle."""

    host: str
    domain: Any

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``/bin/sh`` in the guest; ``sudo`` has no effect, it is root already.

        Raises UnreachableError if the agent does not answer or may not run commands, ConnectionLostError if
        the script is still running after ``timeout`` (it is then killed).
        """
        del sudo
        began = time.monotonic()
        deadline = began + timeout
        data = wrapped(script).encode()
        if len(data) <= _LARGEST_INPUT:
            done = self._execute(["/bin/sh", "-s"], data, deadline)
        else:
            file = self._execute(["/bin/sh", "-c", _MAKE_FILE], b"", deadline).stdout.strip()
            for start in range(0, len(data), _LARGEST_INPUT):
                part = data[start : start + _LARGEST_INPUT]
                self._execute(["/bin/sh", "-c", 'cat >>"$0"', file], part, deadline)
            done = self._execute(["/bin/sh", "-c", _RUN_FILE, file], b"", deadline)
        return replace(done, seconds=time.monotonic() - began)

    def _execute(self, command: list[str], data: bytes, deadline: float) -> Completed:
        """Run one command with ``data`` on its stdin and poll until it ends or is killed."""
        arguments: JsonObject = {
            # A separate session, so that it can be killed with all its children.
            "path": "/usr/bin/setsid",
            "arg": command,
            "env": _ENVIRONMENT,
            "input-data": base64.b64encode(data).decode("ascii"),
            "capture-output": True,
        }
        began = time.monotonic()
        answer = self._ask("guest-exec", arguments, UnreachableError, deadline - began)
        pid = as_integer(answer.get("pid"), _WHAT)
        pause = _FIRST_POLL
        while True:
            status = self._ask("guest-exec-status", {"pid": pid}, ConnectionLostError)
            now = time.monotonic()
            if status.get("exited"):
                return self._completed(status, now - began)
            if now >= deadline:
                self._kill(pid)
                raise ConnectionLostError(f"no end after {now - began:.0f} s", host=self.host, step="agent")
            time.sleep(min(pause, max(deadline - now, _FIRST_POLL)))
            pause = min(pause * 1.5, _LONGEST_POLL)

    def _completed(self, status: JsonObject, seconds: float) -> Completed:
        if status.get("out-truncated") or status.get("err-truncated"):
            raise CommandError(
                "the script wrote more than the guest agent keeps (16 MiB)", host=self.host, step="agent"
            )
        # Same as in a shell: 128 plus the signal.
        signal = as_integer(status.get("signal", 0), _WHAT)
        code = as_integer(status["exitcode"], _WHAT) if "exitcode" in status else 128 + signal
        out, err = _decoded(status, "out-data"), _decoded(status, "err-data")
        require_size(len(out) + len(err), out=out, err=err)
        return Completed(code, out, err, seconds)

    def _kill(self, pid: int) -> None:
        # The timeout has been reported already, and it is what matters.
        with contextlib.suppress(TransportError, UnreadableError):
            self._ask("guest-exec", {"path": "/bin/sh", "arg": ["-c", _KILL, str(pid)]}, ConnectionLostError)

    def _ask(
        self,
        command: str,
        arguments: JsonObject,
        error: type[TransportError],
        seconds: float = _ANSWER_SECONDS,
    ) -> JsonObject:
        """Return the agent's reply; raise ``error`` if there is none within ``seconds``, 10 at most."""
        import libvirt
        import libvirt_qemu

        watch(libvirt_qemu, "libvirtmod_qemu")
        request = json.dumps({"execute": command, "arguments": arguments})
        patience = max(1, min(_ANSWER_SECONDS, math.ceil(seconds)))
        try:
            answer = libvirt_qemu.qemuAgentCommand(self.domain, request, patience, 0)
        except libvirt.libvirtError as failure:
            reason = failure.get_error_message() or str(failure)
            hint = None
            if "disabled" in reason:
                hint = f"the guest's qemu-guest-agent must allow {command}"
            raise error(f"guest agent: {reason}", host=self.host, step="agent", hint=hint) from failure
        # The agent keeps at most 16 MiB of output, a third more in base64.
        result = as_object(understood(_WHAT, lambda: json.loads(answer)), _WHAT).get("return")
        return result if isinstance(result, dict) else {}


def _decoded(status: JsonObject, stream: str) -> str:
    data = status.get(stream, "")
    try:
        return base64.b64decode(data if isinstance(data, str) else "").decode(errors="replace")
    except binascii.Error as error:
        raise UnreadableError("output that is not base64", step=_WHAT) from error


def agent_leases(domain: Any) -> tuple[Lease, ...]:
    """Return the addresses that the agent sees on the guest's NICs, none without an agent.

    Link-local and loopback addresses are left out, since they cannot be reached from elsewhere.
    """
    import libvirt

    try:
        nics = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
    except libvirt.libvirtError:
        return ()
    found = []
    for nic in nics.values():
        for entry in nic.get("addrs") or ():
            seen = address(entry.get("addr"))
            if nic.get("hwaddr") and seen is not None and not seen.is_link_local and not seen.is_loopback:
                found.append(Lease(nic["hwaddr"].lower(), seen, "agent"))
    return tuple(found)
