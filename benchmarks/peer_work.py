"""The work common to all peers: the files that `configure` leaves on hosts, and their activation."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.labs import BenchLab
from benchmarks.reset import put_back, remember, run_everywhere

__all__ = ["APPLY", "CHECK", "CHECKS", "SECTIONS", "HostWork", "Prepared", "prepare"]

SECTIONS = "nmcli,sysctl,sshd"
"""The sections that the peers' recipes cover; labrun is limited to them as well."""

_LIST = r"""
for file in /etc/NetworkManager/system-connections/* /etc/sysctl.d/*.conf /etc/ssh/sshd_config.d/*.conf; do
    [ ! -f "$file" ] || [ -L "$file" ] || echo "$file $(base64 -w0 <"$file")"
done
"""

_NICS = "$(nmcli -g DEVICE,TYPE device | sed -n 's/:ethernet$//p')"
APPLY = {
    "profile": f"nmcli connection reload && for nic in {_NICS}; do nmcli device reapply $nic || exit 1; done",
    "sysctl": "/usr/sbin/sysctl -q -p {path}",
    "sshd": "/usr/sbin/sshd -t && systemctl reload ssh",
}
"""Shell lines that activate a file of each kind."""

CHECKS = (
    "ip -j address",
    "ip -j route",
    "nmcli -t connection show --active",
    "/usr/sbin/sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter",
    "/usr/sbin/sshd -T",
)
"""Commands that show the active state, after every run."""

CHECK = " && ".join(CHECKS)
"""All of them on one line."""


@dataclass(frozen=True, slots=True)
class HostWork:
    """Files that must exist, by path, and files that must be absent."""

    write: Mapping[str, str]
    remove: tuple[str, ...]

    def kind(self, path: str) -> str:
        """Return the kind in :data:`APPLY` for a path."""
        return "profile" if "NetworkManager" in path else "sysctl" if "sysctl" in path else "sshd"

    def mode(self, path: str) -> str:
        """Return the file mode in octal."""
        return "0600" if self.kind(path) == "profile" else "0644"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A lab before its first `configure`, and the work that each host needs."""

    lab: BenchLab
    hosts: Mapping[str, HostWork]

    def back(self) -> None:
        """Restore all hosts to their initial state."""
        put_back(self.lab)

    def check(self) -> None:
        """Raise RuntimeError unless `configure` finds nothing to do: the peers must do the same work."""
        self.lab.run("configure", "--only", SECTIONS, "--dry-run")


def _files(lab: BenchLab) -> dict[str, dict[str, str]]:
    found = run_everywhere(lab, _LIST)
    return {
        host: {
            path: base64.b64decode(content).decode()
            for path, _, content in (line.partition(" ") for line in text.splitlines())
        }
        for host, text in found.items()
    }


def prepare(lab: BenchLab) -> Prepared:
    """Let labrun configure the lab once, record the result, and restore the hosts."""
    remember(lab)
    before = _files(lab)
    lab.run("configure", "--only", SECTIONS)
    after = _files(lab)
    work = {
        host: HostWork(
            {path: text for path, text in after[host].items() if before[host].get(path) != text},
            tuple(path for path in before[host] if path not in after[host]),
        )
        for host in lab.lab.hosts
    }
    put_back(lab)
    return Prepared(lab, work)
