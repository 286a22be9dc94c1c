"""A certificate authority of the fleet's own, and what it signs: one certificate for each end, for 30 days.

Whoever has a certificate of the authority can run code on every machine of the fleet.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from labrun.errors import LabrunError
from labrun.state_files import DamagedFileError, read_file, write_private
from labrun.state_folders import private_folder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["CONTROLLER", "DAYS", "Bundle", "bundle", "is_current", "issue", "make_authority"]

CONTROLLER: Final = "controller"
"""The name of the certificate that the scheduler and labrun itself use."""
DAYS: Final = 30
"""How long a certificate is valid."""
_RENEWED: Final = 10  # days before a certificate ends that it is made anew
_AUTHORITY: Final = "authority"
_AUTHORITY_DAYS: Final = 3650
_SKEW: Final = dt.timedelta(minutes=5)  # of clocks


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one end: the authority's certificate, its own certificate, its own private key."""

    authority: Path
    certificate: Path
    key: Path


def bundle(folder: Path, name: str) -> Bundle:
    """Return the files of an end in the folder; they need not exist."""
    return Bundle(folder / f"{_AUTHORITY}.crt", folder / f"{name}.crt", folder / f"{name}.key")


def make_authority(folder: Path) -> bool:
    """Make the authority if there is none, and return whether it was made. Raises LabrunError."""
    private_folder(folder)
    files = bundle(folder, _AUTHORITY)
    if files.key.exists() and files.certificate.exists():
        return False
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    write_private(files.key, _pem_of(key))
    write_private(files.certificate, _signed(key, None, "labrun fleet", _AUTHORITY_DAYS))
    return True


def issue(folder: Path, name: str) -> bool:
    """Make the certificate and key (mode 0600) of an end, unless they are there and last.

    Return whether they were made. Raises LabrunError without an authority.
    """
    if is_current(folder, name):
        return False
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    files = bundle(folder, name)
    text = _signed(key, folder, name, DAYS)
    write_private(files.key, _pem_of(key))
    write_private(files.certificate, text)
    return True


def is_current(folder: Path, name: str) -> bool:
    """Return whether an end has a certificate that lasts for some days more."""
    from cryptography import x509

    files = bundle(folder, name)
    try:
        data = read_file(files.certificate)
        if data is None or not files.key.exists():
            return False
        ends = x509.load_pem_x509_certificate(data).not_valid_after_utc
    except (DamagedFileError, ValueError):
        return False
    return ends - dt.datetime.now(dt.UTC) > dt.timedelta(days=_RENEWED)


def _signed(key: EllipticCurvePrivateKey, folder: Path | None, name: str, days: int) -> str:
    """Return a certificate for the key, signed by the authority in the folder, None = by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    signer = key
    if folder is not None:
        files = bundle(folder, _AUTHORITY)
        pem, own = read_file(files.key), read_file(files.certificate)
        if pem is None or own is None:
            raise LabrunError("the fleet has no certificate authority", hint="labrun fleet init --tls ...")
        loaded = serialization.load_pem_private_key(pem, None)
        if not isinstance(loaded, EllipticCurvePrivateKey):
            raise LabrunError(f"{files.key}: it is not what labrun wrote", hint="labrun fleet init --tls ...")
        signer = loaded
        issuer = x509.load_pem_x509_certificate(own).subject
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=folder is None, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=folder is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if folder is not None:
        # Each end of a fleet connects and is connected to.
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")
