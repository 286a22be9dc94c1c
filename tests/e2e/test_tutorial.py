"""The tutorial, typed as it stands there: every command works, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from tests import leftovers, places
from tests.typed_page import Block, blocks_of, fits

pytestmark = pytest.mark.lxc

PAGE = places.ROOT / "docs" / "tutorial.md"
# The reader's lab may be up on this machine: another name and other subnets, as wide as the tutorial's.
OURS = {"kvm-network-lab": "kvm-network-tut", "172.16.": "172.26.", "172.17.": "172.27."}
SECONDS = 300


def ours(text: str) -> str:
    """Return a text of the tutorial for the lab that the test makes."""
    for name, own in OURS.items():
        text = text.replace(name, own)
    return text


def addresses(folder: Path, text: str) -> list[str]:
    """Return the addresses that follow from the names in a lab file, in file order."""
    path = folder / "names.yaml"
    path.write_text(text, encoding="utf-8")
    nics = [nic for host in load_lab(path).hosts.values() for nic in host.interfaces if nic.dhcp]
    return [str(nic.ipv4.ip) for nic in nics if nic.ipv4 is not None]


class Reader:
    """Somebody who types the page, in a folder of their own; ``wrong`` is where it shows something else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        self.wrong: list[str] = []
        self.file = ""
        # What is printed and what the page has in its place; reserved addresses first.
        self.names: dict[str, str] = {}
        labrun = folder / "bin" / "labrun"
        labrun.parent.mkdir()
        labrun.write_text(f'#!/bin/sh\nexec {sys.executable} -m labrun "$@"\n', encoding="utf-8")
        labrun.chmod(0o755)
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("LABRUN_", "GITHUB_"))
        }
        if "LABRUN_IMAGE_DIR" in os.environ:
            clean["LABRUN_IMAGE_DIR"] = os.environ["LABRUN_IMAGE_DIR"]
        clean |= {"XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "80", "LINES": "24"}
        self.env = {**clean, "PATH": f"{labrun.parent}:{os.environ['PATH']}"}

    def write(self, text: str) -> None:
        """Write the lab file."""
        self.file = text
        reserved = zip(*(addresses(self.folder, each) for each in (ours(text), text)), strict=True)
        self.names |= dict(reserved)
        (self.folder / "lab.yaml").write_text(ours(text), encoding="utf-8")

    def as_printed(self, text: str) -> str:
        """Return what our lab printed as the reader's prints it."""
        for own, shown in [*self.names.items(), *((own, name) for name, own in OURS.items())]:
            text = text.replace(own, shown)
        return text

    def type(self, command: str) -> str:
        """Type one command and return what it prints, errors last."""
        shell = [shutil.which("bash") or "bash", "-c", ours(command)]
        enter = (
            [str(places.ROOT / "scripts" / "hypervisor"), "enter"]
            if command.split()[0] in ("ssh", "virsh")
            else []
        )
        done = subprocess.run(
            [*enter, *shell], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        self.printed = self.as_printed(done.stdout)
        return self.as_printed(done.stdout + done.stderr)

    def read(self, block: Block) -> None:
        """Do what one block of the page asks for."""
        if block.note.startswith("not typed"):
            return
        if block.note == "removed from lab.yaml":
            self.write(re.sub(r"^  host05: .*\n", "", self.file, flags=re.MULTILINE))
        if block.note == "lab.yaml":
            self.write(block.text)
        elif block.note == "added to lab.yaml":
            host = block.text.removeprefix("hosts:\n")
            self.write(self.file.replace("hosts:\n", f"hosts:\n{host}"))
        elif block.language == "console" and block.commands:
            for command, shown in block.commands:
                everything = self.type(command)
                if (
                    shown
                    and not fits(shown, self.printed, whole=True)
                    and not fits(shown, everything, whole=True)
                ):
                    self.differs(block, f"$ {command}", shown, everything)
        elif block.language in ("console", "diff", "sh", "ini") and not fits(
            block.text, self.printed, whole=False
        ):
            self.differs(block, "a part of it", block.text, self.printed)

    def differs(self, block: Block, command: str, shown: str, printed: str) -> None:
        """Note that the page shows something else."""
        self.wrong.append(
            f"tutorial.md:{block.line}: {command}\n--- the page\n{shown}\n--- labrun\n{printed}"
        )


@pytest.fixture
def reader(hypervisor: None, tmp_path: Path) -> Iterator[Reader]:
    """Return a reader; their lab is taken down."""
    leftovers.note(OURS["kvm-network-lab"])
    someone = Reader(tmp_path)
    yield someone
    someone.type("labrun down -y")


@pytest.mark.full
def test_every_command_works_and_prints_what_the_page_shows(reader: Reader) -> None:
    blocks = list(blocks_of(PAGE.read_text(encoding="utf-8")))
    assert sum(len(block.commands) for block in blocks) > 30
    for block in blocks:
        reader.read(block)
    assert not reader.wrong, "\n\n".join(reader.wrong)
