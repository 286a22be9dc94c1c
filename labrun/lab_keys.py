"""What a lab logs in with: its key pair, and the passwords of its hosts' consoles."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from labrun.key_pairs import make_host_key, public_half
from labrun.state_files import DamagedFileError, read_file, read_or_reset, set_aside, write_private

__all__ = ["ensure_key_pair", "password_from", "read_public_key"]

_KEY_BYTES = 64 * 1024
_CONSOLE_SECRET = re.compile(rb"[0-9a-f]{64}")
_CONSOLE_PASSWORD = 32  # characters of it, all hexadecimal: a console may have any keyboard
# Allow no character that a shell could take for the end of a word.
_PUBLIC_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]+=*( [A-Za-z0-9@._ -]*)?")


def read_public_key(path: Path) -> str | None:
    """Return the public key in a file as one line, None if there is none that labrun wrote."""
    try:
        data = read_file(path, largest=_KEY_BYTES) or b""
    except DamagedFileError:
        data = b""  # `up` checks the pair and creates another one
    match = _PUBLIC_KEY.fullmatch(data.decode("ascii", "replace").strip())
    return match[0] if match is not None else None


def ensure_key_pair(private_path: Path, public_path: Path, known_hosts: Path, comment: str) -> bool:
    """Create a lab's key pair if it is missing. Return whether it was created.

    Two files that do not match, or that belong to another lab, are set aside. No host has the new key
    yet, so ``known_hosts`` is emptied: that is how the next run knows, if this one is killed before the
    hosts have the key. The public half is written last and removed first: one that exists belongs to
    the private key beside it.
    """
    private, public = _read_key(private_path), _read_key(public_path)
    if private is not None and public is not None:
        wrong = _what_is_wrong(private, public, comment)
        if wrong is None:
            return False
        set_aside(public_path, "the private key beside it is set aside")
        set_aside(private_path, wrong)
    elif private is not None:
        set_aside(private_path, "its public key is missing")
    public_path.unlink(missing_ok=True)
    if known_hosts.is_dir():
        set_aside(known_hosts, "not a regular file")
    known_hosts.unlink(missing_ok=True)
    pair = make_host_key(comment)
    write_private(private_path, pair.private)
    write_private(public_path, pair.public + "\n")
    return True


def password_from(path: Path, host: str) -> str:
    """Return the password of a host's console, which follows from the secret in a file, made if missing."""
    secret = read_or_reset(path, _console_secret, b"", largest=_KEY_BYTES)
    if not secret:
        secret = secrets.token_hex(32).encode()
        write_private(path, secret.decode() + "\n")
    return hmac.new(secret, host.encode(), hashlib.sha256).hexdigest()[:_CONSOLE_PASSWORD]


def _read_key(path: Path) -> bytes | None:
    nothing: bytes | None = None
    return read_or_reset(path, lambda data: data, nothing, largest=_KEY_BYTES)


def _what_is_wrong(private: bytes, public: bytes, comment: str) -> str | None:
    kind, key, theirs = [*public.decode("ascii", "replace").split(None, 2), "", "", ""][:3]
    if public_half(private) != f"{kind} {key}":
        return "it is damaged, or not the key of the .pub file beside it"
    if theirs.startswith("labrun-") and theirs.strip() != comment:
        return f"it is the key of another lab, {theirs.strip().removeprefix('labrun-')}"
    return None


def _console_secret(data: bytes) -> bytes:
    if not _CONSOLE_SECRET.fullmatch(data.strip()):
        raise ValueError("not a labrun secret")
    return data.strip()
