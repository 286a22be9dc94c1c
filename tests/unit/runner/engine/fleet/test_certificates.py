"""The fleet's own certificates: for 30 days, renewed before they end, keys for their owner alone."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from labrun.errors import LabrunError
from labrun.runner.engine.fleet import certificates
from labrun.runner.engine.fleet.certificates import DAYS, bundle, is_current, issue, make_authority


def test_a_certificate_lasts_thirty_days_and_is_made_once(tmp_path: Path) -> None:
    assert make_authority(tmp_path)
    assert not make_authority(tmp_path)
    assert issue(tmp_path, "site-a")
    assert not issue(tmp_path, "site-a")
    files = bundle(tmp_path, "site-a")
    made = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert made.not_valid_after_utc - dt.datetime.now(dt.UTC) <= dt.timedelta(days=DAYS)
    assert made.not_valid_after_utc - dt.datetime.now(dt.UTC) > dt.timedelta(days=DAYS - 1)
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(files.authority.read_bytes()))
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")} == {0o600}
    # OpenSSL takes them as a pair.
    ssl.create_default_context(cafile=str(files.authority)).load_cert_chain(files.certificate, files.key)


def test_a_certificate_that_ends_soon_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_authority(tmp_path)
    monkeypatch.setattr(certificates, "DAYS", 9)
    assert issue(tmp_path, "site-a")
    assert not is_current(tmp_path, "site-a")
    monkeypatch.setattr(certificates, "DAYS", 30)
    assert issue(tmp_path, "site-a")
    assert is_current(tmp_path, "site-a")


def test_without_an_authority_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(
        LabrunError, match=r"^the fleet has no certificate authority \(labrun fleet init --tls"
    ):
        issue(tmp_path, "site-a")
