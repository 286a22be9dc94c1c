"""Signatures over vendors' lists of checksums, checked by gpgv with keys that did not come with them."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError

__all__ = ["Signed", "check_signature", "keys_here"]

_SECONDS = 30
_LARGEST_KEY = 4 * 1024 * 1024
_KEY_FOLDERS: Final = ("/usr/share/keyrings", "/usr/share/distribution-gpg-keys", "/etc/pki/rpm-gpg")
"""Where distributions install vendors' public keys: Debian and Ubuntu, a package of Fedora's, RPM."""
_INLINE: Final = "-----BEGIN PGP SIGNED MESSAGE-----"
_ARMOUR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----(?P<body>.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
# The packet that a keyring begins with, a public key, in the old and in the new format (RFC 9580, 4.2).
_FIRST_BYTES: Final = (0x98, 0x99, 0xC6)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature vouches for: the signed text, and the fingerprint of the primary key behind it.

    ``by`` is empty if none of the keys made it, and then ``text`` is the text as it came.
    """

    text: str
    by: str


def keys_here() -> tuple[Path, ...]:
    """Return the files of public keys that distributions' packages have installed on this machine."""
    found = (path for folder in _KEY_FOLDERS for path in sorted(Path(folder).rglob("*")))
    return tuple(path for path in found if path.is_file())


def check_signature(text: str, signature: str, keys: Sequence[Path], fingerprint: str, where: str) -> Signed:
    """Check the signature over a list of checksums.

    ``signature`` stands apart, or is the list itself with the signature around it. Only the key with this
    ``fingerprint`` counts, any of the ``keys`` if it is empty. ``where`` is the list's address, for errors.
    Raises LabrunError if the text was changed, or if gpgv or a key cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="labrun-signature-") as name:
        folder = Path(name)
        rings = _keyrings(keys, folder)
        if not rings:
            return Signed(text, "")
        is_inline = signature.startswith(_INLINE)
        (folder / "signature").write_text(signature, encoding="utf-8", newline="")
        (folder / "list").write_text(text, encoding="utf-8", newline="")
        files = ["--output", str(folder / "signed"), str(folder / "signature")]
        if not is_inline:
            files = [str(folder / "signature"), str(folder / "list")]
        status = _gpgv(folder, [word for ring in rings for word in ("--keyring", str(ring))] + files)
        if "BADSIG" in status or ("ERRSIG" not in status and "VALIDSIG" not in status):
            raise LabrunError(
                f"the signature over {where} does not fit it",
                step="image",
                hint="it was changed at the vendor's or on the way: nothing counts by it",
            )
        signers = [words[-1] for words in status.get("VALIDSIG", []) if "GOODSIG" in status]
        by = next((each for each in signers if each == (fingerprint or each)), "")
        if not by:
            return Signed(text, "")
        # Around it may stand what nobody has signed.
        return Signed((folder / "signed").read_text(encoding="utf-8") if is_inline else text, by)


def _keyrings(keys: Sequence[Path], folder: Path) -> list[Path]:
    """Write the keys as gpgv reads them; what holds no key is left out."""
    rings = []
    for number, path in enumerate(keys):
        try:
            if path.stat().st_size > _LARGEST_KEY:
                continue
            data = _unarmoured(path.read_bytes())
        except OSError as error:
            raise LabrunError(f"cannot read the key {path}: {error.strerror}", step="image") from error
        if data[:1] and data[0] in _FIRST_BYTES:
            ring = folder / f"key{number}.gpg"
            ring.write_bytes(data)
            rings.append(ring)
    return rings


def _unarmoured(data: bytes) -> bytes:
    blocks = [match["body"] for match in _ARMOUR.finditer(data.decode("ascii", "replace"))]
    if not blocks:
        return data
    keys = b""
    for block in blocks:
        # Headers end with an empty line; the last line may be a checksum.
        lines = block.replace("\r", "").partition("\n\n")[2].splitlines()
        try:
            keys += base64.b64decode("".join(line for line in lines if not line.startswith("=")))
        except binascii.Error:
            return b""
    return keys


def _gpgv(folder: Path, words: Sequence[str]) -> dict[str, list[list[str]]]:
    """Return gpgv's status lines by keyword: the words behind each."""
    command = ["gpgv", "--homedir", str(folder), "--status-fd", "1", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise LabrunError(
            "gpgv is not installed, and a vendor's signature is to be checked",
            step="image",
            hint="`scripts/install`, or the package gpgv",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabrunError(f"gpgv did not answer in {_SECONDS} s", step="image") from error
    status: dict[str, list[list[str]]] = {}
    for line in done.stdout.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "[GNUPG:]" and rest:
            keyword, *arguments = rest.split()
            status.setdefault(keyword, []).append(arguments)
    return status
