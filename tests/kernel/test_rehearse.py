"""What a wide change puts in force before it may be confirmed, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import places

# A listener that takes its time to read its files again, as one on a busy host does.
_LISTENER = """\
trap 'rm -f /run/sshd.pid; sleep 1; echo yes >"$seen"; echo $$ >/run/sshd.pid' HUP
echo $$ >/run/sshd.pid
while :; do sleep 0.1; done
"""
# Under nohup SIGHUP is ignored, and a shell cannot trap what was ignored when it began.
_ALONE = ("unshare", "--mount", "env", "--default-signal=HUP")
_SCRIPT = """\
mount --bind "$etc" /etc && mount -t tmpfs none /run || exit 1
export seen="$1/seen" guard="$1/guard" PATH="$1/bin:$PATH"
bash -c 'exec -a "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups" bash "$0"' "$1/listener" &
while [ ! -s /run/sshd.pid ]; do sleep 0.05; done
ACT
[ -e "$seen" ]; read_again=$?
kill -KILL $!
exit $read_again
"""


def test_sshd_has_read_its_files_before_a_login_proves_them(tmp_path: Path) -> None:
    needed = (
        *("sshd_reload", "services_openrc", "openrc_boot", "vital"),
        *("rehearse_boot", "openrc_sshd", "rehearse_openrc", "rehearse"),
    )
    _run(tmp_path, "; ".join(f'. "{places.GUEST_SHELL}/{name}.sh"' for name in needed))


def test_a_reload_ends_when_sshd_has_read_its_files(tmp_path: Path) -> None:
    # Its process has no pid file for a second; that is not taken for an sshd without one.
    _run(tmp_path, f'. "{places.GUEST_SHELL}/sshd_reload.sh"; reload_sshd || exit 3')


def _run(tmp_path: Path, words: str) -> None:
    (tmp_path / "etc" / ".labrun-tree").mkdir(parents=True)
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "armed").touch()
    (tmp_path / "bin").mkdir()
    accepts = tmp_path / "bin" / "sshd"
    accepts.write_text("#!/bin/sh\n", encoding="utf-8")
    accepts.chmod(0o755)
    (tmp_path / "listener").write_text(_LISTENER, encoding="utf-8")
    done = subprocess.run(
        [*_ALONE, "sh", "-c", _SCRIPT.replace("ACT", words), "sh", str(tmp_path)],
        env={"etc": str(tmp_path / "etc"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
