"""What labrun loads into the hypervisor's nftables, kept so that libvirt loads it again when it starts.

A restart of the hypervisor forgets tables, and libvirt starts the lab's networks and machines with
``autostart`` without labrun. A hook of libvirt loads what is kept here with the first of the lab's networks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import join, quote

from labrun.errors import HypervisorError
from labrun.tasks.provision import nft
from labrun.tasks.provision.libvirt_hooks import Hook, alone
from labrun.tasks.provision.overlay import LABS

__all__ = ["RULES", "forget_rules", "keep_rules"]

_HOOK = Hook("network", "load_rules")
RULES = ".rules"
"""The folder of a lab's rules: no host has such a name, whose files are beside it."""
_END = "END_OF_RULES"


def keep_rules(table: str, text: str, commands: Iterable[Sequence[str]] = (), last: str = "") -> None:
    """Keep a table of labrun's, and the ``commands`` and the line of shell (``last``) that follow it.

    Raises HypervisorError.
    """
    path, script = _path(table), _script(table, text, commands, last)
    with alone():
        _HOOK.install("nftables")
        if path.is_file() and path.read_text(encoding="utf-8") == script:
            return
        draft = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(script, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise HypervisorError(f"cannot write {path}: {error.strerror}", step="nftables") from error


def forget_rules(table: str) -> None:
    """Forget a table, and with the last one of all labs the hook."""
    path = _path(table)
    if not path.exists():
        return
    with alone():
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Those that are not empty stay.
            path.parent.rmdir()
            path.parent.parent.rmdir()
        if not any(LABS.glob(f"*/{RULES}")):
            _HOOK.remove()


def _path(table: str) -> Path:
    _, lab, *rest = table.split("/")
    return LABS / lab / RULES / "-".join(rest)


def _script(table: str, text: str, commands: Iterable[Sequence[str]], last: str) -> str:
    there = f"nft list table {{}} {quote(table)} >/dev/null 2>&1 && exit 0"
    lines = [there.format(family) for family in ("bridge", "inet")]
    lines += ["set -e", f"nft -f - <<'{_END}'", nft.replacing(text, table).rstrip("\n"), _END]
    lines += [*map(join, commands), *filter(None, [last])]
    return "\n".join(lines) + "\n"
