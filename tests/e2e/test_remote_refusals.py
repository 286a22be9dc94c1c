"""Remote hypervisors that cannot be used: a message that says why, exit code 5, and nothing is made."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labrun.key_pairs import make_host_key
from tests.e2e.guests import wait_until
from tests.labs import RunningLab
from tests.second_hypervisor import SecondHypervisor, lab_on

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: e2e-refused
hypervisor: {uri}
networks: {{n: {{mode: isolated, cidr: 10.198.1.0/24}}}}
hosts: {{a: {{networks: {{n: 10.198.1.11}}}}}}
"""
NO_LIBVIRTD = (
    "no libvirtd listens on {address}",
    "there: install libvirt (Debian: libvirt-daemon-system), then `sudo systemctl enable --now libvirtd`",
)


def lab_at(uri: str, older: SecondHypervisor, folder: Path) -> RunningLab:
    return lab_on(older, folder / "lab", LAB.format(uri=uri))


def refused(lab: RunningLab, uri: str, why: tuple[str, str], older: SecondHypervisor) -> None:
    reason, hint = (text.format(address=older.address) for text in why)
    done = lab.run("up")
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error: libvirt: cannot open {uri}: {reason}\nhint: {hint}\n"), done.stderr


@pytest.mark.parametrize(
    ("login", "why"),
    [
        (
            "lab@10.194.0.99",
            (
                "10.194.0.99 does not answer on port 22: no route to host",
                "is it up, and is this its address?",
            ),
        ),
        (
            "lab@nowhere.invalid",
            (
                "the name nowhere.invalid is not known here",
                "correct it in `hypervisor`, or add it to DNS or /etc/hosts",
            ),
        ),
        (
            "lab@{address}:2299",
            (
                "{address} refuses connections to port 2299",
                "start its sshd, or name the port: qemu+ssh://USER@HOST:PORT/system",
            ),
        ),
        (
            "nobody@{address}",
            (
                "{address} does not let the user nobody in by key",
                "`ssh-copy-id nobody@{address}` puts your key there",
            ),
        ),
        (
            "outsider@{address}",
            (
                "libvirt on {address} does not let the user outsider in",
                "there: `sudo usermod -aG libvirt outsider`, which counts from the next login",
            ),
        ),
    ],
)
def test_what_is_not_there_and_who_is_not_let_in(
    login: str, why: tuple[str, str], older: SecondHypervisor, tmp_path: Path
) -> None:
    uri = f"qemu+ssh://{login.format(address=older.address)}/system"
    refused(lab_at(uri, older, tmp_path), uri, why, older)


@pytest.mark.parametrize("known", ["none", "another"])
def test_a_host_key_that_is_not_known(known: str, older: SecondHypervisor, tmp_path: Path) -> None:
    file = older.folder / "ssh/known_hosts"
    before = file.read_text(encoding="utf-8")
    lab = lab_at(older.uri(), older, tmp_path)
    other = f"{older.address} {make_host_key('other').public}\n"
    try:
        file.write_text("" if known == "none" else other, encoding="utf-8")
        why = (
            "{address} has a host key that is not in your known_hosts",
            "log in once by `ssh lab@{address}` and compare the fingerprint",
        )
        refused(lab, older.uri(), why, older)
    finally:
        file.write_text(before, encoding="utf-8")


@contextmanager
def shut_sshd(older: SecondHypervisor, port: int, *options: str) -> Iterator[None]:
    """Run a further sshd there, with a host key that is known."""
    known = older.folder / "ssh/known_hosts"
    before = known.read_text(encoding="utf-8")
    words = " ".join(f"-o '{option}'" for option in ("PidFile=/run/shut.pid", *options))
    older.inside(f"/usr/sbin/sshd -p {port} {words} 2>&1")
    try:
        wait_until(older.domain, f"ss -Htln | grep -q :{port}")
        line = before.splitlines()[0].replace(older.address, f"[{older.address}]:{port}")
        known.write_text(f"{before}{line}\n", encoding="utf-8")
        yield
    finally:
        older.inside("kill $(cat /run/shut.pid)")
        known.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    "option", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen 10.9.9.9:22"]
)
def test_an_sshd_that_forwards_nothing(option: str, older: SecondHypervisor, tmp_path: Path) -> None:
    lab = lab_at(older.uri(port=2223), older, tmp_path)
    with shut_sshd(older, 2223, option):
        done = lab.run("up")
        assert (done.exit_code, done.stdout) == (5, "")
        assert done.stderr.startswith(
            f"error: hypervisor: {older.address} does not forward connections, and the way to its machines"
            " leads through it\n"
            f"hint: AllowTcpForwarding of the sshd on {older.address} must be yes or local\n"
        ), done.stderr
        assert "e2e-refused" not in older.leftovers()


def test_an_sshd_that_forwards_to_the_machines_alone_will_do(older: SecondHypervisor, tmp_path: Path) -> None:
    """It is let be: what fails then is the image, which this test has taken away."""
    lab = lab_at(older.uri(port=2224), older, tmp_path)
    lab.env["LABRUN_IMAGE_DIR"] = str(tmp_path)
    lab.path.write_text(lab.path.read_text().replace("hosts: {a: {", "hosts: {a: {image: gone, "))
    with shut_sshd(older, 2224, "PermitOpen 10.198.1.11:22"):
        done = lab.run("up")
    assert done.exit_code == 5
    assert "the image gone has no disk for VMs" in " ".join((done.stdout + done.stderr).split())


def test_a_machine_without_libvirt(older: SecondHypervisor, tmp_path: Path) -> None:
    lab = lab_at(older.uri(), older, tmp_path)
    older.inside("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd 2>&1")
    try:
        refused(lab, older.uri(), NO_LIBVIRTD, older)
        older.inside("mv /usr/bin/virt-ssh-helper /var/tmp")
        refused(lab, older.uri(), NO_LIBVIRTD, older)
        older.inside("mv /bin/nc.openbsd /var/tmp")
        refused(lab, older.uri(), NO_LIBVIRTD, older)
    finally:
        older.inside(
            "mv /var/tmp/virt-ssh-helper /usr/bin; mv /var/tmp/nc.openbsd /bin;"
            " systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket 2>&1"
        )
    assert lab.run("plan").exit_code == 3


def test_a_libvirtd_that_hangs(older: SecondHypervisor, tmp_path: Path) -> None:
    lab = lab_at(older.uri(), older, tmp_path)
    assert lab.run("plan").exit_code == 3  # its socket has started it
    older.inside(f"kill -{signal.SIGSTOP.value} $(pgrep -x libvirtd)")
    try:
        done = lab.run("--timeout", "3", "up")
    finally:
        older.inside(f"kill -{signal.SIGCONT.value} $(pgrep -x libvirtd)")
    assert (done.exit_code, done.stdout) == (5, "")
    assert f"{older.uri()} does not answer: no reply in 3 s" in done.stderr, done.stderr
    assert lab.run("plan").exit_code == 3
