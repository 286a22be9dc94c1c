"""What a host runs for its declared checks: one function a kind, values only as quoted words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.guest.shell import Probe, quote

__all__ = ["NO_TOOL", "NO_WAY", "SMALL_LOST", "by_hand", "check_probe", "seconds_of"]

NO_WAY, NO_TOOL, SMALL_LOST = 200, 201, 202
"""Exit statuses of the functions below that no tool in them has: no route, a tool is missing, mtu."""

_AT_ONCE = 8
_EXEC_SECONDS = 20
_SECONDS = {"exec": _EXEC_SECONDS + 3, "http": 9, "tcp": 4, "udp": 6, "dns": 5, "ping": 5, "mtu": 8}

# Each writes to a file of its own in the background. A try without a route or its tool says so by
# its status: the source could not try, which is another thing than being refused.
_ROOM = """\
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
"""
_FUNCTIONS = f"""\
try() {{
n=$1; shift
"$@" >"$tmp/check.$n" 2>"$tmp/noise.$n" </dev/null
echo $? >"$tmp/status.$n"
}}
given() {{ cat "$tmp/check.$1"; cat "$tmp/noise.$1" >&2; return "$(cat "$tmp/status.$1")"; }}
need() {{ command -v "$1" >/dev/null || {{ echo "$1"; return 1; }}; }}
way() {{ ip route get "$1" >/dev/null; }}
last() {{ printf '%s\\n' "$(tail -n 1 "$1")"; }}
try_ping() {{
need ping || return {NO_TOOL}
way "$1" || return {NO_WAY}
ping -n -q -c 1 -W 1 "$1" >/dev/null 2>&1 || ping -n -c 2 -W 1 -i 0.3 "$1"
}}
try_tcp() {{
need nc || return {NO_TOOL}
way "$1" || return {NO_WAY}
nc -n -z -v -w 3 "$1" "$2"
}}
try_udp() {{
need nc || return {NO_TOOL}
way "$1" || return {NO_WAY}
nc -n -u -z -v -w 1 "$1" "$2" || return 1
heard=$(printf 'labrun\\n' | nc -n -u -w 2 -W 1 "$1" "$2" | head -c 1 | wc -c)
[ "$heard" != 0 ] || nc -n -u -z -v -w 1 "$1" "$2" || return 1
echo "$heard"
}}
try_http() {{
need curl || return {NO_TOOL}
[ -z "$1" ] || way "$1" || return {NO_WAY}
said=$(curl -q -sS -v -g --noproxy '*' --connect-timeout 3 -m 8 -o "$tmp/body.$n" \\
-w '%{{http_code}} %{{time_connect}}' "$2" 2>"$tmp/err.$n")
code=$?
printf '%s\\n' "$said"
grep -e ' fail: ' -e ' failed: ' "$tmp/err.$n" >"$tmp/fail.$n" || grep '^curl: ' "$tmp/err.$n" >"$tmp/fail.$n"
last "$tmp/fail.$n"
[ ! -e "$tmp/body.$n" ] || head -c 65536 "$tmp/body.$n"
return $code
}}
try_names() {{
need getent || return {NO_TOOL}
getent ahosts "$1"
}}
try_dns() {{
need nc || return {NO_TOOL}
way "$1" || return {NO_WAY}
nc -n -u -z -v -w 1 "$1" 53 || return 1
printf "$2" | nc -n -u -w 3 -W 1 "$1" 53 | od -An -v -tx1
}}
try_exec() {{
set -- timeout -k 2 {_EXEC_SECONDS} sh -c "$1"
[ -z "$SUDO_USER" ] || [ "$SUDO_USER" = root ] || set -- runuser -u "$SUDO_USER" -- "$@"
{{ "$@" 2>"$tmp/err.$n"; echo $? >"$tmp/code.$n"; }} | head -c 65536 >"$tmp/out.$n"
last "$tmp/err.$n"
cat "$tmp/out.$n"
return "$(cat "$tmp/code.$n")"
}}
try_sysctl() {{
need sysctl || return {NO_TOOL}
for key; do value=$(sysctl -n "$key" 2>/dev/null) && printf '%s %s\\n' "$key" "$value"; done
return 0
}}
try_sshd() {{
need sshd || return {NO_TOOL}
sshd -T
}}
try_mtu() {{
need ping || return {NO_TOOL}
way "$1" || return {NO_WAY}
ping -n -q -c 1 -W 1 "$1" >/dev/null 2>&1 || ping -n -q -c 2 -W 1 -i 0.3 "$1" || return {SMALL_LOST}
ping -n -c 1 -W 1 -M do -s "$2" "$1" || ping -n -c 2 -W 1 -i 0.3 -M do -s "$2" "$1"
}}
"""


def check_probe(specs: Sequence[CheckSpec], *, has_room: bool) -> Probe | None:
    """Return the script for these specs; traces are none of its business. None where nothing is left.

    ``has_room`` says that the script before it has made ``$tmp``.
    """
    calls = [f"try {number} {_call(spec)}" for number, spec in enumerate(specs) if spec.kind != "trace"]
    if not calls:
        return None
    parts = ["" if has_room else _ROOM, _FUNCTIONS]
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
    """Return the command that a person would type to try the same."""
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
    """Return what one round of these checks may take where everything hangs."""
    times = [_SECONDS.get(spec.kind, 1.0) for spec in specs]
    return sum(max(times[start : start + _AT_ONCE]) for start in range(0, len(times), _AT_ONCE))
