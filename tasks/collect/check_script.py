"""What a host runs for its declared checks: one function per kind, values only as quoted words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.durations import TIMED
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Probe, quote

__all__ = ["NO_TOOL", "NO_WAY", "SMALL_LOST", "by_hand", "check_probe", "seconds_of"]

NO_WAY, NO_TOOL, SMALL_LOST = 200, 201, 202
"""Exit statuses that none of the tools below uses: no route, a tool is missing, mtu."""

_AT_ONCE = 8
# The bytes of a page or of a command's output that are examined, and of all of one host's together.
_MOST, _LEAST, _MOST_OF_ALL = 256 * 1024, 64 * 1024, 4 * 1024 * 1024
_EXEC_SECONDS = 20
_SECONDS = {"exec": _EXEC_SECONDS + 3, "http": 9, "tcp": 4, "udp": 6, "dns": 5, "ping": 5, "mtu": 8}

# Each runs in the background and writes to a separate file. A try without a route or its tool reports that
# in its status: the source could not try, which differs from a refusal.
_ROOM = guest_script("room")
_VALUES = {"no_way": NO_WAY, "no_tool": NO_TOOL, "small_lost": SMALL_LOST, "exec_seconds": _EXEC_SECONDS}


def check_probe(specs: Sequence[CheckSpec], *, has_room: bool) -> Probe | None:
    """Return the script for these specs except traces; None if that leaves nothing.

    ``has_room`` says that an earlier script has set up ``$tmp``.
    """
    calls = [
        f"timed check.{number} try {number} {_call(spec)}"
        for number, spec in enumerate(specs)
        if spec.kind != "trace"
    ]
    if not calls:
        return None
    printing = sum(spec.kind in ("exec", "http") for spec in specs)
    most = max(_LEAST, min(_MOST, _MOST_OF_ALL // max(1, printing)))
    parts = ["" if has_room else _ROOM + TIMED, assigned({**_VALUES, "most": most}), guest_script("checks")]
    for start in range(0, len(calls), _AT_ONCE):
        parts += [f"{call} &\n" for call in calls[start : start + _AT_ONCE]] + ["wait\n"]
    parts += [
        f'capture "check {number}" given {number}\n'
        for number, spec in enumerate(specs)
        if spec.kind != "trace"
    ]
    return Probe(script="".join(parts))


def _call(spec: CheckSpec) -> str:
    kind = spec.kind
    if kind == "dns" and spec.address is None:
        return f"try_names {quote(spec.target)}"
    return " ".join([f"try_{kind}", *(quote(word) for word in _words(spec))])


def _words(spec: CheckSpec) -> Iterator[str]:
    kind, address = spec.kind, spec.address
    if kind == "http":
        yield str(address or "")
        yield _url(spec)
        return
    if address is not None:
        yield str(address)
    if kind in ("tcp", "udp"):
        yield str(int(spec.target))
    elif kind == "mtu":
        headers = 48 if address is not None and address.version == 6 else 28
        yield str(max(0, int(spec.target) - headers))
    elif kind == "dns":
        yield _query(spec.target, six=spec.answer is not None and spec.answer.version == 6)
    elif kind == "exec":
        yield spec.target
    elif kind == "sysctl":
        yield from spec.values


def _url(spec: CheckSpec) -> str:
    target = spec.target or "/"
    if "://" in target:
        return target
    address = spec.address
    return f"http://{f'[{address}]' if address is not None and address.version == 6 else address}{target}"


def _query(name: str, *, six: bool) -> str:
    """Return a DNS question (RFC 1035, recursion desired) as octal escapes for printf."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").split(b"."))
    packet = bytes.fromhex("4c52 0100 0001 0000 0000 0000") + labels + bytes([0, 0, 28 if six else 1, 0, 1])
    return "".join(f"\\{byte:03o}" for byte in packet)


def by_hand(spec: CheckSpec) -> str:
    """Return the command a person would type to try the same."""
    target, address = spec.target, spec.address
    if spec.kind == "http":
        return f"curl -i {quote(_url(spec))}"
    if spec.kind == "dns":
        return f"getent ahosts {target}" if address is None else f"dig @{address} {target}"
    return {
        "ping": f"ping -c 1 {address}",
        "trace": f"traceroute -n {address}",
        "tcp": f"nc -nzv -w 3 {address} {target}",
        "udp": f"nc -nuzv -w 1 {address} {target}",
        "exec": target,
        "sysctl": "sysctl " + " ".join(spec.values),
        "sshd": f"sudo sshd -T | grep -E {quote('^(' + '|'.join(spec.values) + ') ')}",
        "mtu": f"ping -c 1 -M do -s {list(_words(spec))[-1]} {address}" if spec.kind == "mtu" else "",
    }[spec.kind]


def seconds_of(specs: Sequence[CheckSpec]) -> float:
    """Return how long one round of these checks may take if everything hangs."""
    times = [_SECONDS.get(spec.kind, 1.0) for spec in specs]
    return sum(max(times[start : start + _AT_ONCE]) for start in range(0, len(times), _AT_ONCE))
