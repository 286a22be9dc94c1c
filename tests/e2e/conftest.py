"""The example lab on real containers, made once for all tests that only look at it or put it back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.labs import EXAMPLES, RunningLab
from tests.leftovers import without_leftovers
from tests.second_hypervisor import NEWER, OLDER, SecondHypervisor, second_hypervisor

__all__ = ["configured_lab", "example", "newer", "older", "running_lab", "without_leftovers", "write_lab"]


@pytest.fixture(scope="session")
def hypervisor() -> None:
    """Skip nothing: say what is missing where the tests' libvirtd or image is not there."""
    virsh = shutil.which("virsh")
    assert virsh, "no virsh: run scripts/install and scripts/hypervisor start"
    done = subprocess.run([virsh, "-c", "lxc:///system", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}: run scripts/hypervisor start"


@contextmanager
def configured_lab(directory: Path, text: str) -> Iterator[RunningLab]:
    """Yield a lab that is up and configured, and take it down."""
    yield from running_lab(directory, text, "--configure")


def running_lab(directory: Path, text: str, *options: str) -> Iterator[RunningLab]:
    """Yield a lab that is up, with further ``options`` of `up`, and take it down."""
    made = write_lab(directory, text)
    try:
        up = made.json("up", *options)
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def write_lab(directory: Path, text: str) -> RunningLab:
    """Return a lab with this file, in a directory of its own, and a state directory beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return RunningLab(path, directory / "state")


@pytest.fixture
def make_lab(hypervisor: None, tmp_path: Path) -> Iterator[Callable[[str], RunningLab]]:
    """Make labs that are taken down again after the test, however it ends."""
    made: list[RunningLab] = []

    def make(text: str) -> RunningLab:
        lab = write_lab(tmp_path / f"lab{len(made)}", text)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        answer = lab.run("-y", "down")
        assert answer.exit_code == 0, answer.stderr + answer.stdout


def example(name: str, *, lab: str, first: str, hypervisor: str = "lxc:///system") -> str:
    """Return an example's text as another lab on other subnets, so that it can run beside the original.

    ``first`` is the first octet pair in place of 172.16 and 172.17 (``10.116`` and so on).
    """
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    ten, sixteen = first.split(".")
    text = text.replace("172.16.", f"{first}.").replace("172.17.", f"{ten}.{int(sixteen) + 1}.")
    lines = [f"name: {lab}" if line.startswith("name:") else line for line in text.splitlines()]
    lines = [f"hypervisor: {hypervisor}" if line.startswith("hypervisor:") else line for line in lines]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def kvm_network_lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The example lab on containers: up and configured. Whoever breaks it mends it."""
    text = example("kvm-network-lab.yaml", lab="e2e-kvm", first="10.116")
    lab = write_lab(tmp_path_factory.mktemp("kvm-network-lab"), text)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        configured = lab.json("configure")
        assert configured.exit_code == 0, configured.trouble()
        yield lab
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="session")
def older(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondHypervisor]:
    """A second hypervisor with the libvirt of Debian 12."""
    with second_hypervisor(tmp_path_factory.mktemp("older"), OLDER) as made:
        yield made


@pytest.fixture(scope="session")
def newer(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondHypervisor]:
    """A second hypervisor with the libvirt of Debian 13."""
    with second_hypervisor(tmp_path_factory.mktemp("newer"), NEWER) as made:
        yield made
