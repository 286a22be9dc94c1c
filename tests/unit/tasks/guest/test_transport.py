"""The SSH transport against a real sshd on loopback: what works, and how every failure is named."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from netmiko import BaseConnection
from nornir.core import Nornir
from nornir.core.configuration import Config
from nornir.core.inventory import ConnectionOptions, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.plugins.runners import SerialRunner
from nornir_netmiko.connections import Netmiko
from nornir_netmiko.tasks import netmiko_send_command

from labrun.errors import (
    AuthenticationError,
    ConnectionLostError,
    HostKeyError,
    UnreachableError,
)
from labrun.key_pairs import make_host_key
from labrun.ports import Completed, Transport
from labrun.state import LabState
from labrun.tasks.guest.deadline import Pace, finishing, paced
from labrun.tasks.guest.transport import (
    CONNECTION,
    SshTransport,
    _check_sudo,
    _has_no_sudo,
    fresh_transport,
    port_of,
    register_connection,
    transport_of,
)
from tests.loopback_sshd import LoopbackSshd, free_port, loopback_sshd
from tests.shares import every


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["a shell for each", "one shell for all"])
def transport(
    request: pytest.FixtureRequest, sshd: LoopbackSshd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SshTransport]:
    with fresh_transport(sshd.host()) as opened:
        if request.param == "one shell for all":
            opened.keep_shell()
            monkeypatch.setattr(opened, "run", partial(opened.run, sudo=True))
            opened.run("first=1; cd /tmp; umask 077; trap 'echo trapped' EXIT; set -eu", timeout=60)
        yield opened


def test_a_script_brings_back_status_and_both_streams(transport: SshTransport) -> None:
    typed: Transport = transport
    done = typed.run("echo out; echo err >&2; exit 7", timeout=60)
    assert (done.exit_status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert 0 < done.seconds < 60


def test_output_of_a_megabyte_on_both_streams_does_not_deadlock(transport: SshTransport) -> None:
    script = "head -c 1048576 /dev/zero | tr '\\0' o; head -c 1048576 /dev/zero | tr '\\0' e >&2"
    done = transport.run(script, timeout=30)
    assert done.stdout == "o" * 1048576
    assert done.stderr == "e" * 1048576


def test_a_script_larger_than_any_window_arrives_whole(transport: SshTransport) -> None:
    filler = "".join(f"# {number:060d}\n" for number in range(80_000))
    done = transport.run(f"echo first\n{filler}echo last", timeout=30)
    assert (done.exit_status, done.stdout) == (0, "first\nlast\n")


def test_bytes_that_are_no_utf8_are_replaced_not_fatal(transport: SshTransport) -> None:
    assert transport.run("printf 'a\\377b'", timeout=60).stdout == "a\ufffdb"


def test_text_beyond_ascii_survives_both_ways(transport: SshTransport) -> None:
    assert transport.run("printf %s 'Zürich 東京'", timeout=60).stdout == "Zürich 東京"


@pytest.mark.parametrize("script", every(2, ["", "\n", "# only a comment", "true \\", "cat <<'EOF'\nx\nEOF"]))
def test_odd_endings_of_a_script_are_harmless(transport: SshTransport, script: str) -> None:
    done = transport.run(script, timeout=60)
    assert (done.exit_status, done.stderr) == (0, "")


def test_nothing_runs_of_a_script_with_a_syntax_error(transport: SshTransport, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    done = transport.run(f"touch {witness}\nif true; then", timeout=60)
    assert done.exit_status != 0
    assert not witness.exists()


def test_a_command_that_reads_stdin_does_not_eat_the_script(transport: SshTransport) -> None:
    assert transport.run("cat >/dev/null\necho still here", timeout=60).stdout == "still here\n"


def test_a_process_left_behind_does_not_hold_the_result_back(transport: SshTransport) -> None:
    done = transport.run("sleep 30 & echo $!; exit 3", timeout=60)
    os.kill(int(done.stdout), signal.SIGTERM)
    assert done.exit_status == 3
    assert done.seconds < 25


def test_the_deadline_is_total_even_while_output_trickles(transport: SshTransport) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionLostError) as caught:
        transport.run("while echo tick; do sleep 0.1; done", timeout=1)
    assert str(caught.value) == (
        "loop: script: the script did not finish in time; it may still be running (--timeout allows more)"
    )
    assert 0.9 < time.monotonic() - started < 60


def test_the_deadline_of_the_run_cuts_a_longer_timeout(transport: SshTransport) -> None:
    with paced(Pace(deadline=time.monotonic() + 0.5)), pytest.raises(ConnectionLostError):
        transport.run("sleep 20", timeout=60)


def test_a_stream_that_never_ends_is_cut_off(transport: SshTransport) -> None:
    from labrun.tasks.guest.exec_channel import Greeting, run_script
    from labrun.tasks.guest.output import TooMuchOutputError

    opened = transport.login.transport
    assert opened is not None
    greeting = Greeting()
    script = f"{greeting.script}echo first >&2; yes\n"
    with pytest.raises(
        TooMuchOutputError, match=r"^script: the script wrote more than 100000 bytes"
    ) as caught:
        run_script(opened, "sh -s", script, deadline=time.monotonic() + 60, most=100_000)
    kept = greeting.taken_out(caught.value.kept)
    assert (kept.stdout[:4], len(kept.stdout) > 90_000, kept.stderr) == ("y\ny\n", True, "first\n")


def test_a_killed_shell_leaves_the_state_unknown(transport: SshTransport) -> None:
    with pytest.raises(ConnectionLostError, match="was killed, or never started, and left no exit status"):
        transport.run("kill -9 $$", timeout=60)
    assert transport.run("echo next", timeout=60).stdout == "next\n"


def test_a_host_that_dies_in_the_middle_is_lost(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server:
        host = server.host()
        transport = transport_of(host)
        # The parent of the script's shell is the sshd process that serves this connection.
        with pytest.raises(ConnectionLostError) as caught:
            transport.run("kill -9 $PPID; sleep 20", timeout=60)
        assert str(caught.value) == "loop: script: the connection broke while the script ran"
        with pytest.raises(UnreachableError, match=r"gone before the script was sent|connection is closed"):
            transport.run("true", timeout=60)
        assert transport_of(host).run("echo again", timeout=60).stdout == "again\n"
        host.close_connections()


def test_transport_of_shares_one_login_and_fresh_transport_does_not(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    first, second = transport_of(host), transport_of(host)
    assert first.login is second.login
    with fresh_transport(host) as fresh:
        assert fresh.login is not first.login
        assert fresh.run("echo in", timeout=60).stdout == "in\n"
    assert not fresh.login.is_alive()
    first.close()
    assert first.login.is_alive(), "a transport closes only what is its own"
    host.close_connections()
    assert not first.login.is_alive()


def logins(server: LoopbackSshd) -> int:
    return (server.directory / "sshd.log").read_text(encoding="utf-8").count("Accepted publickey")


def say(command: str, host: Host) -> str:
    """Run a user's task, as nornir-netmiko has it."""
    inventory = Inventory(hosts=Hosts({host.name: host}))
    result = Nornir(inventory=inventory, runner=SerialRunner()).run(
        netmiko_send_command, command_string=command
    )
    assert not result.failed, result[host.name].exception
    return str(result[host.name].result).strip()


@pytest.mark.parametrize("first", ["labrun", "user"])
def test_a_users_task_shares_the_login_of_labruns(tmp_path: Path, first: str) -> None:
    with loopback_sshd(tmp_path) as server:
        host = server.host()
        host.connection_options["netmiko"] = ConnectionOptions(extras=server.extras())
        register_connection()
        if first == "user":
            assert say("echo $((6 * 7))", host) == "42"
        ours = transport_of(host)
        assert ours.run("echo in", timeout=60).stdout == "in\n"
        assert say("echo $((6 * 7))", host) == "42"
        connection = host.get_connection("netmiko", Config())
        assert isinstance(connection, BaseConnection)
        assert connection is host.connections["netmiko"].connection
        assert transport_of(host).login is ours.login
        host.close_connections()
        assert not ours.login.is_alive()
        assert logins(server) == 1


def test_a_login_by_the_plain_plugin_is_replaced_and_then_shared(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server:
        host = server.host()
        extras = {**server.extras(), "ssh_strict": True, "ssh_config_file": None}
        del extras["host_key_alias"]
        host.connection_options["netmiko"] = ConnectionOptions(extras=extras)
        if "netmiko" in ConnectionPluginRegister.available:
            ConnectionPluginRegister.deregister("netmiko")
        ConnectionPluginRegister.register("netmiko", Netmiko)
        assert say("echo one", host) == "one"
        plain = host.connections["netmiko"].connection
        ours = transport_of(host)
        assert not plain.is_alive()
        assert say("echo two", host) == "two"
        assert transport_of(host).login is ours.login
        host.close_connections()
        assert logins(server) == 2


def test_a_users_task_trusts_no_unknown_host_key(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server:
        host = server.host()
        (tmp_path / "nobody").touch()
        extras = server.extras(alt_key_file=str(tmp_path / "nobody"))
        host.connection_options["netmiko"] = ConnectionOptions(extras=extras)
        register_connection()
        with pytest.raises(HostKeyError, match="no host key is known for loop"):
            host.get_connection("netmiko", Config())


def test_the_shell_opens_only_for_send_command(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    transport_of(host).run("true", timeout=60)
    connection = host.get_connection(CONNECTION, Config())
    assert connection is host.get_connection(CONNECTION, Config())
    assert connection.remote_conn is None
    assert str(connection.send_command("echo over the $((1 + 1))nd way")).strip() == "over the 2nd way"
    assert transport_of(host).run("echo beside it", timeout=60).stdout == "beside it\n"
    host.close_connections()
    assert not connection.is_alive()


def test_the_cheapest_key_exchange_and_cipher_are_agreed_on(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path, LogLevel="DEBUG1") as server:
        fresh_transport(server.host()).close()
    log = (tmp_path / "sshd.log").read_text(encoding="utf-8")
    assert "kex: algorithm: curve25519-sha256" in log
    assert "cipher: aes128-gcm@openssh.com" in log


def test_a_wrong_host_key_is_refused(sshd: LoopbackSshd, tmp_path: Path) -> None:
    state = LabState.open("other", "test:///default", tmp_path)
    state.remember_host_keys({"loop": ((), make_host_key("x").public)})
    with pytest.raises(HostKeyError, match=r"^loop: host key: its host key is not the one on record") as it:
        transport_of(sshd.host(alt_key_file=str(state.known_hosts)))
    assert it.value.hint == "the machine was rebuilt by other means, or something else answers at its address"


@pytest.mark.parametrize("content", [None, "", "other ssh-ed25519 AAAA\n", "\x00\xff not a file of ours\n"])
def test_an_unknown_host_key_is_refused(sshd: LoopbackSshd, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "known_hosts"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(HostKeyError) as caught:
        transport_of(sshd.host(alt_key_file=str(file)))
    assert caught.value.reason == f"no host key is known for loop in {file}"


def test_the_key_is_looked_up_by_address_and_port_without_an_alias(sshd: LoopbackSshd) -> None:
    with fresh_transport(sshd.host(host_key_alias=None)) as transport:
        assert transport.run("echo in", timeout=60).stdout == "in\n"


def test_a_hashed_name_is_found(sshd: LoopbackSshd, tmp_path: Path) -> None:
    import paramiko

    file = tmp_path / "known_hosts"
    _, rest = sshd.state.known_hosts.read_text(encoding="utf-8").split(" ", 1)
    file.write_text(f"{paramiko.HostKeys.hash_host('loop')} {rest}", encoding="utf-8")
    with fresh_transport(sshd.host(alt_key_file=str(file))) as transport:
        assert transport.run("echo in", timeout=60).stdout == "in\n"


def test_a_wrong_key_is_tried_once_only(sshd: LoopbackSshd, tmp_path: Path) -> None:
    state = LabState.open("other", "test:///default", tmp_path)
    state.ensure_keys()
    started = time.monotonic()
    with pytest.raises(
        AuthenticationError, match=r"^loop: login: .+ accepts none of the keys for root: "
    ) as caught:
        transport_of(sshd.host(key_file=str(state.identity)), patience=120)
    assert time.monotonic() - started < 60
    assert caught.value.hint == "the lab's key is not in the guest's authorized_keys, or sshd refuses keys"


def test_a_key_that_is_missing_or_none_says_which_file(sshd: LoopbackSshd, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError) as caught:
        transport_of(sshd.host(key_file=str(tmp_path / "gone")))
    assert caught.value.reason == f"cannot read the key {tmp_path / 'gone'}: No such file or directory"
    (tmp_path / "text").write_text("hello\n", encoding="utf-8")
    with pytest.raises(AuthenticationError, match=f"{tmp_path / 'text'} is not a valid private key: "):
        transport_of(sshd.host(key_file=str(tmp_path / "text")))
    with pytest.raises(AuthenticationError, match="there is no key to log in with"):
        transport_of(sshd.host(key_file=None))


def test_a_refused_port_is_unreachable_at_once(sshd: LoopbackSshd) -> None:
    port = free_port()
    with pytest.raises(UnreachableError) as caught:
        transport_of(sshd.host(port=port))
    assert str(caught.value) == f"loop: connect: 127.0.0.1 port {port} refused the connection"


def test_patience_bridges_a_host_that_is_still_booting(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server, socket.socket() as later:
        later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        later.bind(("127.0.0.1", 0))
        forward = threading.Timer(0.7, _serve_one, [later, server.port])
        forward.start()
        with fresh_transport(server.host(port=later.getsockname()[1]), patience=15) as transport:
            assert transport.run("echo up", timeout=60).stdout == "up\n"
        forward.join(60)


def test_a_confirming_login_is_tried_again_though_somebody_wants_to_stop(tmp_path: Path) -> None:
    """sshd is reloading and refuses for a moment, and Ctrl-C came before."""
    share = Pace(time.monotonic() + 60)
    share.stopping.set()
    with loopback_sshd(tmp_path) as server, socket.socket() as later:
        later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        later.bind(("127.0.0.1", 0))
        host = server.host(port=later.getsockname()[1])
        with paced(share), pytest.raises(UnreachableError, match="refused the connection"):
            fresh_transport(host, patience=15)
        forward = threading.Timer(0.7, _serve_one, [later, server.port])
        forward.start()
        with paced(share), finishing(), fresh_transport(host, patience=15) as transport:
            assert transport.run("echo up", timeout=60).stdout == "up\n"
        forward.join(60)
    assert share.stopping.is_set(), "afterwards it is heard again"


def test_a_confirming_login_keeps_its_deadline(sshd: LoopbackSshd) -> None:
    share = Pace(time.monotonic() + 0.5)
    began = time.monotonic()
    with paced(share), finishing(), pytest.raises(UnreachableError, match="refused the connection"):
        fresh_transport(sshd.host(port=free_port()), patience=120)
    assert 0.3 < time.monotonic() - began < 60


def _serve_one(listener: socket.socket, port: int) -> None:
    """Begin to listen, and hand the first connection through to ``port``."""
    listener.listen(1)
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_pump, args=(server, client))
        back.start()
        _pump(client, server)
        back.join(60)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def test_a_black_hole_is_unreachable_within_the_time_given(sshd: LoopbackSshd) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="sent no SSH banner within 1 s"):
            transport_of(sshd.host(port=hole.getsockname()[1], banner_timeout=1, conn_timeout=1))
        assert time.monotonic() - started < 30


def test_a_full_backlog_does_not_answer_in_time(sshd: LoopbackSshd) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        address = hole.getsockname()
        fill = [socket.socket() for _ in range(3)]
        for waiting in fill:
            waiting.setblocking(False)
            waiting.connect_ex(address)
        with pytest.raises(UnreachableError, match=r"connect: 127\.0\.0\.1 port \d+ did not answer in time$"):
            transport_of(sshd.host(port=address[1], conn_timeout=0.5))
        for waiting in fill:
            waiting.close()


def test_a_server_that_hangs_up_is_unreachable(sshd: LoopbackSshd) -> None:
    with socket.socket() as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen(1)
        hang_up = threading.Thread(target=_accept_and_close, args=(rude,))
        hang_up.start()
        with pytest.raises(UnreachableError, match=r"handshake|banner|closed"):
            transport_of(sshd.host(port=rude.getsockname()[1]))
        hang_up.join(60)


def _accept_and_close(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_a_host_without_address_says_why(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    host.data["labrun_unreachable"] = "no lease on network2"
    with pytest.raises(UnreachableError) as caught:
        transport_of(host)
    assert str(caught.value) == "loop: address: no lease on network2"


def test_the_operators_ssh_config_is_never_read(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host *\n  ProxyCommand false\n  Port 1\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    with fresh_transport(sshd.host()) as transport:
        assert transport.run("echo in", timeout=60).stdout == "in\n"


def test_sessions_beyond_the_limit_are_named(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path, MaxSessions="1") as server, fresh_transport(server.host()) as transport:
        opened = transport.login.transport
        assert opened is not None
        session = opened.open_session()
        with pytest.raises(UnreachableError, match="sshd refuses another session") as caught:
            transport.run("true", timeout=60)
        assert caught.value.hint == "MaxSessions must be 4 or more"
        session.close()


@pytest.mark.parametrize(
    "stderr",
    [
        "sudo: a password is required\n",
        "Sorry, user lab may not run sudo on host01.\n",
        "lab is not in the sudoers file.\n",
    ],
)
def test_sudo_that_refuses_is_told_from_a_script_that_fails(stderr: str) -> None:
    with pytest.raises(
        UnreachableError, match=r"^sudo: sudo does not work for lab without a password: "
    ) as caught:
        _check_sudo(Completed(1, "", stderr, 0.1), "lab")
    assert caught.value.hint == "labrun needs `lab ALL=(ALL) NOPASSWD: ALL` in the guest's sudoers"
    _check_sudo(Completed(1, "some output", stderr, 0.1), "lab")
    _check_sudo(Completed(1, "", f"{stderr}cat: x: No such file or directory\n", 0.1), "lab")
    _check_sudo(Completed(2, "", stderr, 0.1), "lab")


@pytest.mark.parametrize("said", ["doas: Operation not permitted\n", "doas: Authentication required\n"])
def test_doas_that_refuses_is_named_with_its_cure(said: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        _check_sudo(Completed(1, "", said, 0.1), "lab")
    assert caught.value.reason == f"doas does not work for lab without a password: {said.strip()}"
    assert caught.value.hint == "labrun needs `permit nopass lab` in the guest's /etc/doas.conf"


@pytest.mark.parametrize(
    ("status", "out", "error", "is_missing"),
    [
        (127, "", "env: \u2018sudo\u2019: No such file or directory\n", True),
        (127, "", "env: can't execute 'sudo': No such file or directory\n", True),
        (127, "", "sh: 1: nmcli: not found\n", False),
        (127, "x", "env: \u2018sudo\u2019: No such file or directory\n", False),
        (1, "", "sudo: a password is required\n", False),
    ],
)
def test_doas_is_tried_only_where_there_is_no_sudo(
    status: int, out: str, error: str, is_missing: bool
) -> None:
    assert _has_no_sudo(Completed(status, out, error, 0.1)) is is_missing


def test_a_login_loads_paramiko_when_it_has_dialled_and_never_netmiko() -> None:
    import subprocess

    code = "import sys\n" + "".join(
        f"import labrun.tasks.guest.{module}\n"
        f"print({module!r}, *(name for name in ('netmiko', 'paramiko') if name in sys.modules))\n"
        for module in ("transport", "ssh_login", "exec_channel")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["transport", "ssh_login paramiko", "exec_channel paramiko"]


def test_an_sshd_that_has_moved_is_found_at_its_other_ports(sshd: LoopbackSshd) -> None:
    closed = free_port()
    host = sshd.host(port=closed, other_ports=f"{closed} {sshd.port}")
    assert port_of(host) is None
    try:
        transport = transport_of(host)
        assert transport.port == port_of(host) == sshd.port
        with fresh_transport(host, ports=(sshd.port, closed)) as fresh:
            assert fresh.port == sshd.port
        with pytest.raises(UnreachableError, match=f"port {closed} refused the connection"):
            fresh_transport(host, ports=(closed,))
    finally:
        host.close_connections()
