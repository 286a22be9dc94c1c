"""Vendors' lists of checksums, in the forms in which they publish them."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.tasks.provision.checksums import Digest, find_digest, measure

A, B = "a" * 64, "b" * 64
LONG = "c" * 128
FILE = "disk.qcow2"
LISTS = {
    "GNU": f"{B}  other.qcow2\n{A}  {FILE}\n",
    "GNU, binary": f"{A} *{FILE}\r\n{B} *{FILE}.xz\r\n",
    "GNU, with a folder": f"{A}  ./images/{FILE}\n",
    "BSD": f"SHA256 (other) = {B}\nSHA256 ({FILE}) = {A}\n",
    "upper case": f"{A.upper()}  {FILE}\n",
    "Fedora, clearsigned": (
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
        f"# {FILE}: 518979584 bytes\nSHA256 ({FILE}) = {A}\n-----BEGIN PGP SIGNATURE-----\n\n{'A' * 64}\n"
    ),
    "with weak ones": f"{'d' * 32}  {FILE}\n{'e' * 40}  {FILE}\n{A}  {FILE}\n",
    "the same twice": f"{A}  {FILE}\nSHA256 ({FILE}) = {A}\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_each_form_is_read(kind: str) -> None:
    assert find_digest(LISTS[kind], FILE, "the list") == Digest("sha256", A)


def test_the_stronger_one_counts() -> None:
    assert find_digest(f"{A}  {FILE}\n{LONG}  {FILE}\n", FILE, "the list") == Digest("sha512", LONG)


@pytest.mark.parametrize(
    "text", [A, f"{A}\n", f"{A}  Leap-16.0-Build7.qcow2\n", f"SHA256 (link.qcow2) = {A}"]
)
def test_a_list_of_one_file_need_not_name_it(text: str) -> None:
    assert find_digest(text, FILE, "the list", only=True) == Digest("sha256", A)
    with pytest.raises(LabrunError):
        find_digest(text, FILE, "the list")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        f"{B}  other\n",
        f"{'d' * 32}  {FILE}\n",
        f"{A}x  {FILE}\n",
        f"x{A}  {FILE}",
    ],
)
def test_a_list_without_it_is_refused(text: str) -> None:
    with pytest.raises(LabrunError) as caught:
        find_digest(text, FILE, "the list")
    assert str(caught.value) == (
        f"image: the list has no SHA-256 or SHA-512 for {FILE} "
        "(without a checksum it does not become an image)"
    )


@pytest.mark.parametrize("only", [True, False])
def test_a_list_that_contradicts_itself_is_refused(only: bool) -> None:
    with pytest.raises(LabrunError, match=rf"^image: the list has several checksums for {FILE}$"):
        find_digest(f"{A}  {FILE}\n{B}  {FILE}\n", FILE, "the list", only=only)


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 40, "a" * 32, "ä" * 64, " " + "a" * 63])
def test_what_is_no_strong_checksum(text: str) -> None:
    with pytest.raises(ValueError, match="is neither SHA-256 nor SHA-512"):
        Digest.of(text)


def test_a_file_is_measured_once_for_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    shares: list[float] = []
    found = measure(path, "sha256", "sha512", progress=shares.append)
    assert found["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found["sha512"].startswith("ddaf35a193617abacc417349ae204131")
    assert shares == [1.0]
