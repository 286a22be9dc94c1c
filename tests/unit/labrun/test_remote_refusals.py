"""What ssh and libvirt say of a hypervisor elsewhere, as recorded, in plain words."""

from __future__ import annotations

import pytest

from labrun.remote_refusals import RemoteRefusal, remote_refusal

URI = "qemu+ssh://ann@hv/system"
HELPER = (
    "End of file while reading data: virt-ssh-helper: cannot connect to '/var/run/libvirt/libvirt-sock':"
    " Failed to connect socket to '/var/run/libvirt/libvirt-sock': "
)
NO_LIBVIRTD = RemoteRefusal(
    "no libvirtd listens on hv",
    "there: install libvirt (Debian: libvirt-daemon-system), then `sudo systemctl enable --now libvirtd`",
)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (
            "Cannot recv data: ssh: connect to host hv port 22: No route to host: Connection reset by peer",
            RemoteRefusal(
                "hv does not answer on port 22: no route to host", "is it up, and is this its address?"
            ),
        ),
        (
            "Cannot recv data: ssh: connect to host hv port 22: Connection refused: Connection reset by peer",
            RemoteRefusal(
                "hv refuses connections to port 22",
                "start its sshd, or name the port: qemu+ssh://USER@HOST:PORT/system",
            ),
        ),
        (
            "Cannot recv data: ssh: Could not resolve hostname hv: Name or service not known",
            RemoteRefusal(
                "the name hv is not known here", "correct it in `hypervisor`, or add it to DNS or /etc/hosts"
            ),
        ),
        (
            "Cannot recv data: ann@hv: Permission denied (publickey,password).: Connection reset by peer",
            RemoteRefusal(
                "hv does not let the user ann in by key", "`ssh-copy-id ann@hv` puts your key there"
            ),
        ),
        (
            "Cannot recv data: Host key verification failed.: Connection reset by peer",
            RemoteRefusal(
                "hv has a host key that is not in your known_hosts",
                "log in once by `ssh ann@hv` and compare the fingerprint",
            ),
        ),
        (
            "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt'",
            RemoteRefusal(
                "libvirt on hv does not let the user ann in",
                "there: `sudo usermod -aG libvirt ann`, which counts from the next login",
            ),
        ),
        (
            HELPER + "Permission denied",
            RemoteRefusal(
                "libvirt on hv does not let the user ann in",
                "there: `sudo usermod -aG libvirt ann`, which counts from the next login",
            ),
        ),
        (
            "End of file while reading data: nc: /var/run/libvirt/libvirt-sock: No such file or directory",
            NO_LIBVIRTD,
        ),
        (
            HELPER + "No such file or directory",
            NO_LIBVIRTD,
        ),
        ("End of file while reading data: sh: 1: nc: not found: Input/output error", NO_LIBVIRTD),
        ("internal error: something that nobody has seen yet", None),
    ],
)
def test_what_was_said_is_told_in_plain_words(said: str, known: RemoteRefusal | None) -> None:
    assert remote_refusal(URI, said) == known


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+tls://hv/system", "qemu+unix:///system?socket=/x"])
def test_only_ssh_is_judged(uri: str) -> None:
    assert remote_refusal(uri, "Connection refused") is None


def test_port_and_a_missing_user_are_as_in_the_uri() -> None:
    found = remote_refusal("qemu+ssh://hv:2222/system", "hv: Permission denied (publickey).")
    assert found == RemoteRefusal(
        "hv does not let your user in by key", "`ssh-copy-id -p 2222 hv` puts your key there"
    )
    found = remote_refusal("qemu+ssh://[fd00::1]:2222/system", "port 2222: Connection refused")
    assert found is not None
    assert found.reason == "fd00::1 refuses connections to port 2222"
