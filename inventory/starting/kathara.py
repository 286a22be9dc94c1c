"""Read a network scenario of Kathara: lab.conf, and the commands in *.startup beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from labrun.errors import LabFileError
from labrun.inventory.file.source import Source, read_source
from labrun.inventory.starting.draft import Draft, DraftNic, misread, short
from labrun.inventory.starting.shell_lines import MOST_LINES, read_command

__all__ = ["LINE", "read_kathara"]

LINE: Final = re.compile(
    r"\s*(?P<host>[A-Za-z0-9_-]{1,60})\[(?P<key>[A-Za-z0-9_]{1,40})\]\s*=\s*(?P<value>.*?)\s*"
)
_OF_LAB: Final = re.compile(r"\s*LAB_[A-Z]+\s*=.*")
_VALUE: Final = re.compile(r"\"([^\"]*)\"|'([^']*)'|(\S+)")
_MAC: Final = re.compile(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}")
_SHARED: Final = "shared.startup"
"""Its commands run on every machine, before the machine's own."""
_NOTHING: Final = ("image", "bridged", "ipv6", "port", "shell", "num_terms", "exec", "ulimit", "env", "args")


def read_kathara(source: Source) -> Draft:
    """Return the draft of a scenario. Raises UsageError for a line that is not lab.conf's."""
    draft = Draft(source.name, "a Kathara scenario")
    for number, line in enumerate(source.text.splitlines(), 1):
        text = re.sub(r"\s+#.*$", "", line)
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if _OF_LAB.fullmatch(text):
            if text.strip().startswith("LAB_NAME"):
                draft.name = _unquoted(text.partition("=")[2].strip())
            continue
        match = LINE.fullmatch(text)
        if match is None:
            raise misread(source.name, f"{short(line.strip())} is not of the form MACHINE[KEY]=VALUE", number)
        _setting(draft, match["host"], match["key"], _unquoted(match["value"]), number)
    if not draft.hosts:
        raise misread(source.name, "names no machine", 1, "such as pc1[0]=A")
    folder = Path(source.directory)
    for called in draft.hosts:
        for path in (folder / _SHARED, folder / f"{called}.startup"):
            _startup(draft, called, path)
    _beside(draft, folder)
    for called, network in draft.networks.items():
        network.is_link = len(list(draft.nics_on(called))) == 2
    return draft


def _unquoted(text: str) -> str:
    match = _VALUE.match(text)
    return next((each for each in match.groups() if each is not None), "") if match else ""


def _setting(draft: Draft, called: str, key: str, value: str, line: int) -> None:
    host = draft.add_host(called)
    if key.isdigit():
        domain, _, mac = value.partition("/")
        network = draft.add_network(domain, f"the collision domain {domain}")
        if len(network.name) == 1:
            network.name = f"net-{network.name}"
        nic = DraftNic(domain, f"eth{int(key)}", mac=mac.lower() if _MAC.fullmatch(mac) else None)
        if host.nic(nic.called) is not None:
            raise misread(draft.source, f"{called}[{key}] is given twice", line)
        host.nics.append(nic)
    elif key == "mem" and (match := re.fullmatch(r"(\d{1,6})([mMgG])", value)):
        amount = int(match[1]) * (1024 if match[2] in "gG" else 1)
        host.memory = max(256, min(1_048_576, amount))
    elif key == "cpus" and re.fullmatch(r"\d{1,3}(\.\d+)?", value):
        host.vcpus = max(1, min(64, round(float(value))))
    elif key == "sysctl":
        if not read_command(host, f"sysctl {value}"):
            draft.leave_out(f"{host.name}: sysctl {short(value)}", "not a setting of the network", line)
    elif key == "image":
        host.note = f"{called}, image {value}"
        if re.search("frr|quagga|bird|router", value):
            host.router = True
    else:
        why = "has no counterpart" if key in _NOTHING else "not a key that labrun knows"
        draft.leave_out(f"{host.name}: {short(key)}={short(value)}", why, line)


def _beside(draft: Draft, folder: Path) -> None:
    """Note what is beside lab.conf and not read."""
    for called in (*draft.hosts, "shared"):
        if (folder / called).is_dir():
            draft.leave_out(f"folder {called}/", "`files` puts files into machines")
        if (folder / f"{called}.shutdown").is_file():
            draft.leave_out(f"{called}.shutdown", "has no counterpart")
    if (folder / "lab.dep").is_file():
        draft.leave_out("lab.dep", "labrun starts machines together")


def _startup(draft: Draft, called: str, path: Path) -> None:
    """Read the commands of a startup file, if it is there."""
    if path.is_symlink() or not path.is_file():
        return
    host = draft.hosts[called]
    try:
        text = read_source(path).text
    except LabFileError as error:
        draft.leave_out(path.name, error.problems[0].what)
        return
    for number, line in enumerate(text.splitlines()[:MOST_LINES], 1):
        if not read_command(host, line):
            draft.leave_out(
                f"{path.name}:{number}: {short(line.strip())}", "a command that labrun does not run"
            )
