"""Where an image comes from, and what proves that it is the one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labrun.tasks.provision.checksums import Digest

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image comes from and what proves it.

    ``urls`` are tried in turn. ``digest`` is known from elsewhere; without it, ``checksums`` is the address
    of the vendor's list, in which ``file`` is looked up; without both, HTTPS alone vouches for the content.
    ``only`` = that list is of this file alone. ``signature`` is the address of the list's signature, which
    is that of the list if it has its signature in it. ``key`` is the fingerprint of the key that counts,
    empty for any of the ``keys``, which are files; without these, the ones on this machine are tried.
    """

    urls: tuple[str, ...]
    file: str
    digest: Digest | None = None
    checksums: str = ""
    only: bool = False
    signature: str = ""
    key: str = ""
    keys: tuple[Path, ...] = ()
