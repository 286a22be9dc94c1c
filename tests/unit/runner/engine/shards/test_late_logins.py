"""A login that comes to its end after its host was given up: it is closed, and nothing begins there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labrun.runner.engine.shards.messages import Event, HostOutcome, HostSpec, Limits, Shard, TaskRef
from labrun.runner.engine.shards.work import ShardWork
from tests.connections import connections_to
from tests.loopback_sshd import loopback_sshd

_SECONDS = 180.0  # bounds on waiting, for a machine that is busy
# sshd asks it whether a key may log in, and waits.
_ASKED = """\
touch {folder}/asked
while [ ! -e {folder}/gate ]; do sleep 0.1; done
cat {folder}/authorized_keys
"""


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.full
def test_a_worker_drops_what_was_opened_too_late(tmp_path: Path) -> None:
    (tmp_path / "keys.sh").write_text(_ASKED.format(folder=tmp_path), encoding="utf-8")
    command = {
        "AuthorizedKeysCommand": f"/bin/sh {tmp_path}/keys.sh",
        "AuthorizedKeysCommandUser": "root",
        "LoginGraceTime": "0",
    }
    work, events = ShardWork(), list[Event]()
    with loopback_sshd(tmp_path, AuthorizedKeysFile="none", **command) as sshd:
        host = HostSpec(
            "one",
            "127.0.0.1",
            sshd.port,
            sshd.user,
            key_file=str(sshd.state.identity),
            known_hosts=str(sshd.state.known_hosts),
            options={"host_key_alias": "loop", "auth_timeout": int(_SECONDS)},
        )
        done = tmp_path / "done"
        params = {"script": f"touch {done}", "timeout": _SECONDS}
        limits = Limits(1, 1, _SECONDS)
        task = TaskRef("labrun.runner.commands.exec:run_command", params, limits, reads=True)
        shard = Shard("r/1/1", "w", task, (host,))
        thread = threading.Thread(target=work.run, args=(shard, events.append))
        thread.start()
        try:
            wait((tmp_path / "asked").exists)
            work.cancel()
            thread.join(_SECONDS)
            assert not thread.is_alive()
            (outcome,) = (event for event in events if isinstance(event, HostOutcome))
            assert outcome.failure is not None
            assert connections_to(sshd.port) == 1
        finally:
            (tmp_path / "gate").touch()
        wait(lambda: connections_to(sshd.port) == 0)
        # Nor does it begin what nobody waits for.
        assert not done.exists()
        work.tidy()
