"""The guard of a change: a detached process that makes it, and rolls it back unless it is confirmed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import HostBridgeError, LabrunError
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.host_bridge.model import Change, Manager
from labrun.tasks.host_bridge.records import as_text, record_file
from labrun.tasks.host_bridge.ways import Ways, established, own_connection

__all__ = ["State", "cancel", "confirm", "pending", "require_none", "start", "states"]

_FOLDER = Path("/run/labrun-host-bridge")
_SCRIPTS = {
    Manager.NETWORK_MANAGER: "bridge_networkmanager",
    Manager.NETPLAN: "bridge_netplan",
    Manager.IFUPDOWN: "bridge_ifupdown",
}
_OVER = ("kept", "taken-back")
_SETTLE = 30
"""Seconds in which the gateway has to answer again: DHCP takes some of them."""
_BEGIN = 20.0
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class State:
    """What the guard of a bridge's change does now.

    ``phase`` is ``changing``, ``checking``, ``waiting``, ``keeping``, ``undoing``, ``kept`` or
    ``taken-back``; ``why`` says who confirmed the change or why it is rolled back; ``left`` are the seconds
    to the deadline.
    """

    bridge: str
    phase: str
    why: str
    left: int

    @property
    def is_over(self) -> bool:
        """Return whether nothing more will happen."""
        return self.phase in _OVER


def _state(folder: Path) -> State | None:
    try:
        lines = (folder / "phase").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    left = 0
    with contextlib.suppress(OSError, ValueError):
        up = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        left = max(0, int((folder / "deadline").read_text(encoding="ascii")) - int(up))
    return State(folder.name, lines[0], lines[1] if len(lines) > 1 else "", left)


def pending() -> State | None:
    """Return the change that waits for its confirmation, or is under way; None without one."""
    try:
        folders = sorted(each for each in _FOLDER.iterdir() if each.is_dir())
    except OSError:
        return None
    found = [state for folder in folders if (state := _state(folder)) is not None and not state.is_over]
    return found[0] if found else None


def require_none(state: State | None) -> None:
    """Raise HostBridgeError if a change is under way: one at a time can be told from the other."""
    if state is not None:
        raise HostBridgeError(
            f"a change of {state.bridge} is not confirmed yet ({state.left} s left)",
            hint=f"labrun host-bridge confirm {state.bridge}, over a new ssh connection",
        )


def start(change: Change, ways: Ways, seconds: int) -> None:
    """Start the guard, which begins with the change at once.

    Raises HostBridgeError if another change is under way, or if the guard cannot be started.
    """
    require_none(pending())
    folder = _FOLDER / change.bridge
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    files = dict(change.files)
    if change.record is not None:
        files["record.json"] = as_text(change.record)
    files["guard.sh"] = _script(change, ways, folder, seconds)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    _detach(change.bridge, folder)


def _script(change: Change, ways: Ways, folder: Path, seconds: int) -> str:
    values: dict[str, str | int | bool] = {
        "bridge": change.bridge,
        "nic": change.nic,
        "dir": str(folder),
        "record": str(record_file(change.bridge)),
        "new_record": str(folder / "record.json") if change.record is not None else "",
        "seconds": seconds,
        "settle": _SETTLE,
        "peers": " ".join(ways.peers),
        "ports": " ".join(ways.ports),
        "mover": change.bridge if change.to_bridge else change.nic,
        "wanted": "bridge" if change.to_bridge else "nic",
        **change.values,
    }
    parts = (assigned(values), hypervisor_script(_SCRIPTS[change.manager]), hypervisor_script("bridge_guard"))
    return "".join(parts)


def _detach(bridge: str, folder: Path) -> None:
    """Run the guard where neither the end of labrun nor of the session reaches it.

    systemd restarts a guard that was killed. What the change starts (a DHCP client) outlives the guard,
    and its unit with it: the next one needs another name.
    """
    command = ["/bin/sh", str(folder / "guard.sh")]
    log = folder / "log"
    if Path("/run/systemd/system").is_dir() and shutil.which("systemd-run"):
        unit = f"labrun-host-bridge-{bridge}-{time.monotonic_ns()}"
        properties = [
            *("KillMode=process", "Restart=on-failure", "RestartSec=1", "OOMScoreAdjust=-900"),
            *(f"StandardOutput=append:{log}", f"StandardError=append:{log}"),
        ]
        words = ["systemd-run", "--quiet", "--collect", f"--unit={unit}"]
        words += [f"--property={each}" for each in properties]
        done = subprocess.run([*words, *command], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise HostBridgeError(f"the guard did not start, and nothing was done: {done.stderr.strip()}")
        return
    with log.open("ab") as file:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/"
        )


def states(bridge: str) -> Iterator[State]:
    """Yield what the guard does, again and again until it is over.

    Raises HostBridgeError if it does not begin.
    """
    until = time.monotonic() + _BEGIN
    while True:
        state = _state(_FOLDER / bridge)
        if state is not None:
            yield state
            if state.is_over:
                return
        elif time.monotonic() > until:
            raise HostBridgeError(f"the guard did not start: see {_FOLDER / bridge / 'log'}")
        time.sleep(_POLL)


def cancel(bridge: str, why: str) -> None:
    """Have the guard roll the change back now."""
    _note(bridge, "cancel", why)


def confirm(bridge: str) -> tuple[State, bool]:
    """Confirm a change from this session; return what came of it, and whether it had been confirmed before.

    Raises LabrunError if nothing waits for it, or if the session's connection was there before.
    """
    state = _state(_FOLDER / bridge)
    if state is None:
        raise LabrunError(f"no change of {bridge} is waiting to be confirmed", hint="labrun host-bridge show")
    if state.phase in ("undoing", "taken-back"):
        raise LabrunError(f"the change of {bridge} was rolled back: {state.why}")
    if state.phase == "kept":
        return state, True
    for each in states(bridge):
        state = each
        if each.phase not in ("changing", "checking"):
            break
    own = own_connection()
    if state.phase == "waiting" and own is not None:
        old = (_FOLDER / bridge / "old").read_text(encoding="utf-8").splitlines()
        if str(own) in old or own not in set(established()):
            raise LabrunError(
                "this session's connection is older than the change, and proves nothing",
                hint="log in once more: ssh -o ControlPath=none",
            )
    if state.phase == "waiting":
        _note(bridge, "confirm", f"labrun host-bridge confirm{f' from {own.peer}' if own else ''}")
    *_, state = states(bridge)
    return state, False


def _note(bridge: str, name: str, text: str) -> None:
    folder = _FOLDER / bridge
    new = folder / f"{name}.new"
    new.write_text(f"{text}\n", encoding="utf-8")
    new.replace(folder / name)
