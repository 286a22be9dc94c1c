"""Key pairs in OpenSSH's formats, of hosts and of labs."""

from __future__ import annotations

import base64
from dataclasses import dataclass

__all__ = ["HostKey", "is_public_key", "make_host_key", "public_half"]

_SHORTEST_KEY = 40  # bytes


@dataclass(frozen=True, slots=True)
class HostKey:
    """An ed25519 host key: OpenSSH private key file text and one-line public key."""

    private: str
    public: str


def make_host_key(comment: str) -> HostKey:
    """Return a new ed25519 key pair in OpenSSH's formats."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    return HostKey(private, f"{public} {comment}")


def public_half(private: bytes) -> str | None:
    """Return ``type base64`` of an OpenSSH private key without a passphrase, None if it is not one."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_ssh_private_key,
    )

    try:
        key = load_ssh_private_key(private, None)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def is_public_key(text: str) -> bool:
    """Return whether a text is ``type base64`` of a public key, by its structure alone."""
    kind, _, key = text.partition(" ")
    try:
        blob = base64.b64decode(key, validate=True)
    except ValueError:
        return False
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size] == kind.encode() and len(blob) >= _SHORTEST_KEY
