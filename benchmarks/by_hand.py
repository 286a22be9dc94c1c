"""The work of `configure` as an experienced administrator scripts it: plain OpenSSH, checks of its own.

Nothing here comes from labrun but the result: the files that it left on each host once. Each host is checked
in one session; only where something differs are files pushed and activated, a new login tried, and the same
checked again. The sessions of a host share one connection, which ends with the run.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from pathlib import Path

from benchmarks.openssh import ssh_config
from benchmarks.peer_work import APPLY, HostWork, Prepared

__all__ = ["by_hand_command", "check_script", "push_archive"]

# The arguments are the directory and the number of hosts at a time.
_EVERYWHERE = r"""
set -u
cd "$1"
xargs -P "$2" -n 1 bash one-host.sh <hosts >out 2>err || { cat out err >&2; exit 1; }
"""

# A reloaded sshd does not listen for a moment, so the new login is tried again.
# Exit status 10 of the check means that something differs; it prints the kinds, one a line.
_ONE_HOST = r"""
host=$1
master="-o ControlMaster=auto -o ControlPath=masters/%n -o ControlPersist=20"
shared() { ssh -F ssh_config $master "$host" "$@"; }
leave() { ssh -F ssh_config -o "ControlPath=masters/%n" -O exit "$host" 2>/dev/null; exit "$1"; }
kinds=$(shared sudo -n sh -s <"$host.check") && leave 0
[ $? = 10 ] || { echo "$host: cannot be checked: $kinds" >&2; leave 1; }
{
    shared sudo -n tar -x -p --no-same-owner -C / -f - <"$host.tar" &&
    shared sudo -n sh -s $kinds <"$host.apply" &&
    ssh -F ssh_config -o ControlPath=none -o ConnectionAttempts=10 "$host" true &&
    shared sudo -n sh -s <"$host.check"
} >"$host.log" 2>&1 || { echo "$host:" >&2; cat "$host.log" >&2; leave 1; }
leave 0
"""

_CHECK = r"""
LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin
differs=
differ() { case " $differs " in *" $1 "*) ;; *) differs="$differs $1"; echo "$1" ;; esac; }
absent() { [ ! -e "$2" ] || differ "$1"; }
same() {
    [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$3  -" ] && [ "$(stat -c %a "$2")" = "$4" ] || differ "$1"
}
active() { echo "$nics" | grep -qx "$1" || differ profile; }
address() { echo "$addresses" | grep -q " $1 " || differ profile; }
kernel() { [ "$(sysctl -n "$1" 2>/dev/null)" = "$2" ] || differ sysctl; }
daemon() { echo "$effective" | grep -qix "$1" || differ sshd; }
nics=$(nmcli -g UUID connection show --active)
addresses=$(ip -o address)
effective=$(sshd -T)
"""
_CHECK_END = '[ -z "$differs" ] || exit 10\n'

# A NIC that is down cannot be reapplied.
_PROFILE = (
    "nmcli connection reload && for nic in $(nmcli -g DEVICE,TYPE device | sed -n 's/:ethernet$//p'); do"
    " nmcli device reapply $nic || nmcli device connect $nic || exit 1; done"
)

_APPLY = r"""
PATH=$PATH:/usr/sbin:/sbin
for kind in "$@"; do
    case $kind in
{cases}
    esac || exit 1
done
"""


def check_script(work: HostWork) -> str:
    """Return the shell script that prints the kinds of which something differs; then it exits with 10."""
    lines = [f"absent profile {shlex.quote(path)}" for path in work.remove]
    for path, text in work.write.items():
        kind = work.kind(path)
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines.append(f"same {kind} {shlex.quote(path)} {digest} {work.mode(path).lstrip('0')}")
        lines += _IN_FORCE[kind](text)
    return _CHECK + "\n".join(lines) + "\n" + _CHECK_END


def _profile(text: str) -> list[str]:
    """Return the checks that a profile is active, and that its fixed addresses are there."""
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    fixed = [value.split(",")[0] for name, value in settings.items() if name.startswith("address")]
    return [f"active {settings['uuid']}", *(f"address {shlex.quote(each)}" for each in fixed)]


def _sysctl(text: str) -> list[str]:
    lines = (line for line in text.splitlines() if "=" in line and line.lstrip()[0] not in "#;")
    pairs = ((part.strip() for part in line.split("=", 1)) for line in lines)
    return [f"kernel {shlex.quote(name.lstrip('-'))} {shlex.quote(value)}" for name, value in pairs]


def _sshd(text: str) -> list[str]:
    """Return the checks for a drop-in's lines before its first Match block."""
    checks = []
    for line in map(str.strip, text.splitlines()):
        if line.lower().startswith("match "):
            break
        if line and not line.startswith("#"):
            checks.append(f"daemon {shlex.quote(_as_shown(line))}")
    return checks


def _as_shown(line: str) -> str:
    """Return a setting as `sshd -T` prints it."""
    shown = {"permitrootlogin prohibit-password": "permitrootlogin without-password"}
    keyword, _, value = line.partition(" ")
    return shown.get(line.lower(), f"{keyword} {value.strip()}")


_IN_FORCE = {"profile": _profile, "sysctl": _sysctl, "sshd": _sshd}


def _apply_script(work: HostWork) -> str:
    paths = {work.kind(path): path for path in work.write}
    removal = "".join(f"rm -f {shlex.quote(path)}; " for path in work.remove)
    lines = {kind: APPLY[kind].format(path=path) for kind, path in paths.items()}
    lines["profile"] = removal + _PROFILE
    cases = "\n".join(f"    {kind}) {line} ;;" for kind, line in lines.items())
    return _APPLY.replace("{cases}", cases)


def push_archive(work: HostWork) -> bytes:
    """Return a tar archive of the files that a host must have."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in work.write.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            content = text.encode()
            member.size, member.mode = len(content), int(work.mode(path), 8)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def by_hand_command(prepared: Prepared) -> list[str]:
    """Return the command that checks all hosts at once, and brings those that differ to the same state."""
    directory: Path = prepared.lab.directory / "by-hand"
    (directory / "masters").mkdir(parents=True, exist_ok=True)
    (directory / "ssh_config").write_text(ssh_config(prepared.lab, shared=True), encoding="utf-8")
    (directory / "one-host.sh").write_text(_ONE_HOST, encoding="utf-8")
    (directory / "hosts").write_text("".join(f"{host}\n" for host in prepared.hosts), encoding="utf-8")
    for host, work in prepared.hosts.items():
        (directory / f"{host}.check").write_text(check_script(work), encoding="utf-8")
        (directory / f"{host}.apply").write_text(_apply_script(work), encoding="utf-8")
        (directory / f"{host}.tar").write_bytes(push_archive(work))
    return ["bash", "-c", _EVERYWHERE, "by-hand", str(directory), str(len(prepared.hosts))]
