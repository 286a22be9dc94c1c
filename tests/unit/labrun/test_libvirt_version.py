"""A libvirt that is too old is refused when it is opened, with its version and the one that is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import libvirt
import pytest

from labrun import hypervisor, libvirt_version
from labrun.errors import HypervisorError
from labrun.libvirt_version import too_old

LAB = """\
name: too-old
hypervisor: test:///default
networks: {n: {cidr: 10.9.3.0/24}}
hosts: {a: {networks: {n: 10.9.3.5}}}
"""
# labrun as it is, which needs a libvirt that there is not yet.
DEMANDING = """\
import labrun.libvirt_version as needed
needed.OLDEST = (999, 0, 0)
from labrun.__main__ import main
main()
"""
HINT = "Debian 12, Ubuntu 22.04 and Enterprise Linux 9 are new enough"


@pytest.fixture
def version() -> str:
    """The version that libvirt reports of itself here."""
    connection = libvirt.open("test:///default")
    number = connection.getLibVersion()
    connection.close()
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


@pytest.fixture
def closed() -> Any:
    """Forget the connections of other tests, and of this one."""
    hypervisor.close_all()
    yield
    hypervisor.close_all()


def test_what_is_too_old_is_refused_once_it_is_open(
    closed: None, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_version, "OLDEST", (999, 0, 0))
    for connect in (hypervisor.connect, hypervisor.connect_apart):
        with pytest.raises(HypervisorError) as refused:
            connect("test:///default")
        assert refused.value.reason == (
            f"cannot use test:///default: its libvirt is {version}, and labrun needs 999.0.0 or later"
        )
        assert refused.value.hint == f"upgrade libvirt on this machine: {HINT}"


def test_the_one_here_is_new_enough(closed: None) -> None:
    assert hypervisor.connect("test:///default").isAlive()


@pytest.mark.parametrize("number", [8_000_000, 8_000_001, 9_000_000, 11_003_000])
def test_from_8_0_on_all_are_new_enough(number: int) -> None:
    assert too_old("qemu:///system", number) is None


@pytest.mark.parametrize(
    ("number", "text"), [(7_010_000, "7.10.0"), (6_000_001, "6.0.1"), (999_999, "0.999.999")]
)
def test_earlier_ones_are_not(number: int, text: str) -> None:
    refused = too_old("qemu+ssh://lab@far.example:2222/system", number)
    assert refused is not None
    assert refused.reason == (
        "cannot use qemu+ssh://lab@far.example:2222/system:"
        f" its libvirt is {text}, and labrun needs 8.0.0 or later"
    )
    assert refused.hint == f"upgrade libvirt on far.example: {HINT}"


@pytest.mark.parametrize("words", ["up", "plan"])
def test_a_command_ends_with_exit_code_5_and_says_so(words: str, version: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    command = [sys.executable, "-c", DEMANDING, "--state-dir", str(tmp_path / "state"), words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (5, "")
    refusal = f"cannot use test:///default: its libvirt is {version}, and labrun needs 999.0.0 or later"
    error, hint, *_ = done.stderr.splitlines()
    assert (error, hint.strip()) == (
        f"error: libvirt: {refusal}",
        f"hint: upgrade libvirt on this machine: {HINT}",
    )
