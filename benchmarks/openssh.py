"""The floor for work on hosts: one script per host, sent by parallel OpenSSH."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.labs import BenchLab

__all__ = ["parallel_ssh", "ssh_config"]

# The same as labrun's connection: one key, host keys checked, the cheap key exchange first.
_OPTIONS = """\
Host *
    User {user}
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    KexAlgorithms curve25519-sha256
    PreferredAuthentications publickey
    BatchMode yes
    ConnectTimeout 10
    LogLevel ERROR
"""
_ALONE = "    ControlMaster no\n    ControlPath none\n"
_HOST = "Host {name}\n    HostName {address}\n    HostKeyAlias {name}\n"

# The arguments are the directory, with one script per host, and the remote command.
_PARALLEL = r"""
set -u
cd "$1"
pids=()
while read -r host; do
    ssh -F ssh_config "$host" "$2" <"$host.sh" >"$host.out" 2>"$host.err" &
    pids+=($!)
done <hosts
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
[ $failed = 0 ] || cat ./*.err >&2
exit $failed
"""


def ssh_config(lab: BenchLab, *, shared: bool = False) -> str:
    """Return the ssh_config(5) text for the lab's hosts; ``shared`` allows connection sharing."""
    hosts = lab.lab.hosts.values()
    options = _OPTIONS.format(
        user=next(iter(hosts)).user, identity=lab.state.identity, known_hosts=lab.state.known_hosts
    )
    names = "".join(_HOST.format(name=name, address=address) for name, address in lab.addresses.items())
    # The first value that ssh finds applies.
    return names + options + ("" if shared else _ALONE)


def parallel_ssh(lab: BenchLab, name: str, scripts: Mapping[str, str], *, sudo: bool = True) -> list[str]:
    """Return the command that feeds each host its script, all in parallel; files go below ``name``."""
    directory: Path = lab.directory / name
    directory.mkdir(exist_ok=True)
    (directory / "ssh_config").write_text(ssh_config(lab), encoding="utf-8")
    (directory / "hosts").write_text("".join(f"{host}\n" for host in scripts), encoding="utf-8")
    for host, script in scripts.items():
        (directory / f"{host}.sh").write_text(script, encoding="utf-8")
    remote = "env LC_ALL=C.UTF-8 sudo -n sh -s" if sudo else "env LC_ALL=C.UTF-8 sh -s"
    return ["bash", "-c", _PARALLEL, "parallel-ssh", str(directory), remote]
