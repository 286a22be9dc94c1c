"""nftables on the hypervisor itself: whether labrun can use it, and tables loaded, listed and removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from labrun.errors import HypervisorError
from labrun.hypervisor import is_local

__all__ = ["canonical", "listing", "load", "remove", "replacing", "run", "tables", "unusable"]

_SECONDS = 30
_NET_ADMIN = 12
_FAMILIES = ("bridge", "inet")


def unusable(uri: str) -> str:
    """Return why labrun cannot use nftables where the lab's bridges are, empty if it can."""
    if not is_local(uri):
        return f"{uri} is another machine, and libvirt gives no access to its nftables"
    if os.geteuid() != 0:
        return "labrun is not running as root here, and nftables is the hypervisor's"
    if not _may_administer():
        return "labrun runs without the capability NET_ADMIN here, which nftables asks for"
    if shutil.which("nft") is None:
        return "nft is not installed here"
    return ""


def _may_administer() -> bool:
    """Tell whether this process has what reading and writing nftables takes; a unit's root may lack it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _NET_ADMIN & 1)
    return True


def run(command: list[str], text: str = "") -> str:
    """Run a program in the network namespace of the lab's bridges and return its output.

    Raises HypervisorError with what it printed.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"{command[0]}: {error}", step="nftables") from error
    if done.returncode != 0:
        said = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise HypervisorError(f"{command[0]}: {said}", step="nftables")
    return done.stdout


def tables() -> list[tuple[str, str]]:
    """Return the family and name of every table that could be labrun's, those of family bridge first."""
    found = json.loads(run(["nft", "-j", "list", "tables"]) or "{}").get("nftables", [])
    each = [entry["table"] for entry in found if "table" in entry]
    return [(family, t["name"]) for family in _FAMILIES for t in each if t["family"] == family]


def listing(name: str, families: Iterable[str]) -> str:
    """Return the tables of that name as nft lists them, without counters and what the kernel fills in."""
    return "".join(_steady(run(["nft", "-s", "list", "table", family, name])) for family in families)


def canonical(text: str, name: str) -> str:
    """Return a text as nft would list its tables: it is loaded into a namespace that ends with it."""
    families = [family for family in _FAMILIES if f"table {family} {name} " in text]
    lists = " && ".join(f"nft -s list table {family} {name}" for family in families)
    return _steady(run(["unshare", "-n", "sh", "-c", f"nft -f - && {lists}"], text))


def replacing(text: str, name: str) -> str:
    """Return what nft reads to replace the tables of that name, there or not, by those of the text."""
    # Before it is deleted, each is added: nft deletes nothing that is not there.
    gone = [f"{verb} table {family} {name}" for family in _FAMILIES for verb in ("add", "delete")]
    return "\n".join([*gone, text])


def load(text: str, name: str) -> None:
    """Replace the tables of that name by those of the text, all at once. Raises HypervisorError."""
    run(["nft", "-f", "-"], replacing(text, name))


def remove(name: str) -> bool:
    """Remove the tables of that name; return False if there are none."""
    gone = [f"delete table {family} {found}" for family, found in tables() if found == name]
    if gone:
        run(["nft", "-f", "-"], "\n".join(gone) + "\n")
    return bool(gone)


def _steady(text: str) -> str:
    """Return a listing without the elements of the sets that the kernel fills."""
    lines: list[str] = []
    block: list[str] = []
    for line in text.splitlines():
        if not block and not line.startswith("\tset "):
            lines.append(line)
            continue
        block.append(line)
        if line == "\t}":
            dynamic = any("flags" in each and "dynamic" in each for each in block)
            lines += _without_elements(block) if dynamic else block
            block = []
    return "\n".join([*lines, *block]) + "\n"


def _without_elements(block: list[str]) -> list[str]:
    start = next((n for n, line in enumerate(block) if line.startswith("\t\telements = ")), None)
    return block if start is None else [*block[:start], block[-1]]
