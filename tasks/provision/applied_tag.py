"""The last applied state of a libvirt object, kept in its tag as one short hash per setting.

The third side for `drift`: if a setting differs from the file, the hash tells which side has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

__all__ = ["APPLIED", "digest_of", "recall", "remember"]

APPLIED = "applied"
"""The attribute's name in the tag."""


def digest_of(value: str) -> str:
    """Return the short hash of a setting's value."""
    return sha256(value.encode()).hexdigest()[:8]


def remember(settings: Mapping[str, str]) -> str:
    """Return the attribute's value: ``memory=1a2b3c4d nics=...``."""
    return " ".join(f"{key}={digest_of(value)}" for key, value in sorted(settings.items()))


def recall(attribute: str) -> dict[str, str]:
    """Return the hashes by setting; empty for an object that an earlier labrun created."""
    pairs = (word.partition("=") for word in attribute.split())
    return {key: digest for key, _, digest in pairs if digest}
