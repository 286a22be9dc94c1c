"""Signed lists of checksums: only what the right key has signed counts as signed, and a change is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from labrun.errors import LabrunError
from labrun.tasks.provision import image_signature
from labrun.tasks.provision.image_catalogue import CATALOGUE, origin_of
from labrun.tasks.provision.image_signature import Signed, check_signature, keys_here
from labrun.tasks.provision.image_store import list_images
from tests.image_server import Shelf, image_server
from tests.unit.command_line import run_labrun
from tests.unit.tasks.provision.image_files import qcow2

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "gpg-agent", "gpgv", "qemu-img"))),
    reason="needs gpg, gpgv and qemu-img",
)
LIST = "0123  disk.qcow2\n"


@dataclass(frozen=True)
class Vendor:
    """Somebody with a key: its fingerprint, and the public part in a file."""

    name: str
    home: Path
    fingerprint: str
    key: Path

    def gpg(self, *words: str, text: str = "") -> str:
        command = ["gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback", *words]
        return _gpg(self.home, command, text)

    def sign(self, text: str) -> str:
        return self.gpg("--armor", "--local-user", self.name, "--detach-sign", text=text)

    def sign_inline(self, text: str) -> str:
        return self.gpg("--local-user", self.name, "--clear-sign", text=text)


def _gpg(home: Path, command: list[str], text: str = "") -> str:
    environment = {**os.environ, "GNUPGHOME": str(home)}
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def _wait_for_end(home: Path) -> None:
    """Wait until the agent has removed its sockets, which it does after it was told to end."""
    until = time.monotonic() + 10
    while any(home.glob("S.*")):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def vendors() -> Iterator[tuple[Vendor, Vendor]]:
    # The agent's socket has a short path only.
    home = Path(mkdtemp(prefix="gpg-"))
    try:
        made = []
        for name in ("vendor", "other"):
            start = Vendor(name, home, "", Path())
            start.gpg("--quick-generate-key", name, "ed25519", "sign", "never")
            listed = start.gpg("--with-colons", "--list-keys", name)
            fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
            key = home / f"{name}.asc"
            key.write_text(start.gpg("--armor", "--export", name))
            made.append(Vendor(name, home, fingerprint, key))
        yield made[0], made[1]
    finally:
        _gpg(home, ["gpgconf", "--kill", "all"])
        _wait_for_end(home)
        shutil.rmtree(home)


def test_a_signature_apart_and_one_in_the_list(vendors: tuple[Vendor, Vendor]) -> None:
    vendor, _ = vendors
    by = vendor.fingerprint
    assert check_signature(LIST, vendor.sign(LIST), [vendor.key], by, "LIST") == Signed(LIST, by)
    inline = vendor.sign_inline(LIST)
    # Nobody has signed what stands before it.
    before = f"9999  disk.qcow2\n\n{inline}"
    assert check_signature(inline, inline, [vendor.key], by, "LIST") == Signed(LIST, by)
    with pytest.raises(LabrunError, match=r"^image: the signature over LIST does not fit it"):
        check_signature(before, before, [vendor.key], by, "LIST")
    behind = f"{inline}9999  disk.qcow2\n"
    assert check_signature(behind, behind, [vendor.key], by, "LIST") == Signed(LIST, by)


def test_the_key_may_be_in_binary_and_beside_others(vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    vendor, other = vendors
    binary = tmp_path / "ring.gpg"
    binary.write_bytes(image_signature._unarmoured(vendor.key.read_bytes()))
    (tmp_path / "notes.txt").write_text("no key\n")
    (tmp_path / "empty").touch()
    keys = [other.key, tmp_path / "notes.txt", tmp_path / "empty", binary]
    assert check_signature(LIST, vendor.sign(LIST), keys, "", "LIST").by == vendor.fingerprint


def test_another_key_does_not_count(vendors: tuple[Vendor, Vendor]) -> None:
    vendor, other = vendors
    signature = other.sign(LIST)
    # It is here and has signed, and is not the one.
    assert check_signature(LIST, signature, [other.key], vendor.fingerprint, "LIST") == Signed(LIST, "")
    # It has signed and is not here.
    assert check_signature(LIST, signature, [vendor.key], vendor.fingerprint, "LIST") == Signed(LIST, "")
    assert check_signature(LIST, signature, [], "", "LIST") == Signed(LIST, "")


@pytest.mark.parametrize("kind", ["changed list", "changed inline", "no signature"])
def test_what_was_changed_is_refused(kind: str, vendors: tuple[Vendor, Vendor]) -> None:
    vendor, _ = vendors
    text, signature = LIST.replace("0123", "9999"), vendor.sign(LIST)
    if kind == "changed inline":
        text = signature = vendor.sign_inline(LIST).replace("0123", "9999")
    if kind == "no signature":
        signature = "<html>moved</html>"
    with pytest.raises(LabrunError) as caught:
        check_signature(text, signature, [vendor.key], vendor.fingerprint, "LIST")
    assert str(caught.value) == (
        "image: the signature over LIST does not fit it "
        "(it was changed at the vendor's or on the way: nothing counts by it)"
    )


def test_the_catalogue_s_keys_are_looked_for_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_signature, "_KEY_FOLDERS", (str(tmp_path), str(tmp_path / "none")))
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "key.gpg").touch()
    assert keys_here() == (tmp_path / "vendor" / "key.gpg",)
    for name, image in CATALOGUE.items():
        origin = origin_of(name, arch="x86_64")
        assert (origin.key, bool(origin.signature)) == (image.key, bool(image.signature))
        assert not image.key or len(image.key) == 40


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shelf]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    with image_server() as shelf:
        yield shelf


def test_pull_takes_what_the_given_key_has_signed_and_nothing_else(
    shelf: Shelf, vendors: tuple[Vendor, Vendor], tmp_path: Path
) -> None:
    vendor, other = vendors
    disk = qcow2(tmp_path / "made.qcow2").read_bytes()
    text = f"{hashlib.sha256(disk).hexdigest()}  disk.qcow2\n"
    url, sums = shelf.put("/disk.qcow2", disk), shelf.put("/SUMS", text.encode())
    signature = shelf.put("/SUMS.asc", vendor.sign(text).encode())
    env = {"LABRUN_IMAGE_DIR": str(tmp_path / "images"), "no_proxy": "127.0.0.1"}
    pull = ("image", "pull", url, "--checksums", sums, "--signature", signature)
    wrong = run_labrun(*pull, "--key", str(other.key), cwd=tmp_path, env=env)
    assert wrong.returncode == 1
    assert f"{sums} was not signed with the key in {other.key}" in wrong.stderr
    assert (list_images(), [path for path, _ in shelf.asked]) == ((), ["/SUMS", "/SUMS.asc"])
    done = run_labrun(*pull, "--key", str(vendor.key), cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (image,) = list_images()
    assert (
        f'"verified": "sha256 by {sums}; signed with the key {vendor.fingerprint}"'
        in (tmp_path / "images" / image.name / "image.json").read_text()
    )
    alone = run_labrun("image", "pull", url, "--key", str(vendor.key), cwd=tmp_path, env=env)
    assert (alone.returncode, alone.stderr) == (
        2,
        (
            "error: --key goes with a list of checksums that is signed\n"
            "hint: a name of the catalogue, or --checksums with --signature\n"
        ),
    )
