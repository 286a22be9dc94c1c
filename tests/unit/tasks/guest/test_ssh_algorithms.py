"""labrun's login offers nothing that `ssh` does not: a host that it gets into, a person gets into as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.errors import UnreachableError
from labrun.tasks.guest.ssh_login import SshLogin
from tests.loopback_sshd import LoopbackSshd, loopback_sshd


def login(server: LoopbackSshd) -> SshLogin:
    return SshLogin("127.0.0.1", server.port, server.user, **server.extras())


def by_ssh(server: LoopbackSshd) -> subprocess.CompletedProcess[str]:
    """Log in by the client, with the settings that it has by itself."""
    words = ["ssh", "-F", "none", "-p", str(server.port), "-i", str(server.state.identity)]
    words += ["-o", f"UserKnownHostsFile={server.state.known_hosts}", "-o", "BatchMode=yes"]
    target = f"{server.user}@127.0.0.1"
    return subprocess.run([*words, target, "true"], capture_output=True, text=True, timeout=60, check=False)


def test_all_that_it_offers_is_offered_by_ssh(tmp_path: Path) -> None:
    shown = subprocess.run(
        ["ssh", "-F", "none", "-G", "x"], capture_output=True, text=True, check=True
    ).stdout
    of_ssh = {line.partition(" ")[0]: set(line.partition(" ")[2].split(",")) for line in shown.splitlines()}
    with loopback_sshd(tmp_path) as server:
        made = login(server)
        assert made.transport is not None
        offered = made.transport.get_security_options()
        assert set(offered.ciphers) <= of_ssh["ciphers"]
        assert set(offered.digests) <= of_ssh["macs"]
        made.close()
        assert by_ssh(server).returncode == 0


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"Ciphers": "aes128-cbc,aes256-cbc"}, "ciphers"),
        ({"Ciphers": "aes128-ctr", "MACs": "hmac-md5,hmac-sha1-96"}, "macs"),
    ],
)
def test_an_sshd_that_ssh_cannot_talk_to_is_unreachable(
    tmp_path: Path, settings: dict[str, str], what: str
) -> None:
    with loopback_sshd(tmp_path, **settings) as server:
        assert "no matching" in by_ssh(server).stderr
        with pytest.raises(UnreachableError) as refused:
            login(server)
    where = f"127.0.0.1 port {server.port}"
    assert refused.value.reason == f"{where}: Incompatible ssh server (no acceptable {what})"
