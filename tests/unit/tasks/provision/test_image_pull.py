"""Images from a server: only what has the right checksum and is an image becomes one, and once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import LabrunError, UsageError
from labrun.progress import Amount
from labrun.tasks.provision.checksums import Digest
from labrun.tasks.provision.downloads import Patience
from labrun.tasks.provision.http_client import DownloadError, is_private
from labrun.tasks.provision.image_catalogue import ARCHITECTURES, CATALOGUE, origin_of, source_of_image
from labrun.tasks.provision.image_origin import Origin
from labrun.tasks.provision.image_pull import Pulled, abandon_downloads, pull_image
from labrun.tasks.provision.image_store import image_paths, list_images
from tests.image_server import Shelf, image_server
from tests.unit.command_line import run_labrun
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2

pytestmark = needs_qemu_img
QUICK = Patience(stall=2.0, pause=0.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "images"
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(directory))
    return directory


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with image_server() as shelf:
        yield shelf


@pytest.fixture
def disk(tmp_path: Path) -> bytes:
    return qcow2(tmp_path / "made.qcow2").read_bytes()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pull(
    name: str, url: str, *, sha256: str = "", checksums: str = "", said: list[str | Amount] | None = None
) -> Pulled:
    digest = Digest.of(sha256) if sha256 else None
    origin = Origin((url,), url.rpartition("/")[2], digest=digest, checksums=checksums)
    return pull_image(name, origin, (said if said is not None else []).append, patience=QUICK)


def _left(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "versions").iterdir() if not path.name.endswith(".lock"))


def test_a_pulled_image_is_there_and_a_second_pull_changes_nothing(
    store: Path, shelf: Shelf, disk: bytes
) -> None:
    said: list[str | Amount] = []
    url = shelf.put("/disk.qcow2", disk)
    first = _pull("one", url, sha256=_sha256(disk), said=said)
    assert (first.is_new, first.verified) == (True, "sha256 as given")
    assert list_images() == (first.image,)
    assert (first.image.drivers, first.image.sha256, first.image.source) == (("qemu",), _sha256(disk), url)
    assert image_paths("one").disk.read_bytes() == disk
    assert [text for text in said if str(text).endswith("MB, 100%")]
    assert _left(store) == [f"one-{_sha256(disk)[:16]}"]
    shelf.asked.clear()
    again = _pull("one", url, sha256=_sha256(disk))
    assert (again.is_new, again.image, shelf.asked) == (False, first.image, [])


def test_the_vendor_s_list_decides(store: Path, shelf: Shelf, disk: bytes) -> None:
    url = shelf.put("/disk.qcow2", disk)
    sums = shelf.put("/SHA512SUMS", f"{hashlib.sha512(disk).hexdigest()}  disk.qcow2\n".encode())
    done = _pull("one", url, checksums=sums)
    assert done.verified == f"sha512 by {sums}; the vendor does not sign it"
    noted = json.loads(image_paths("one").manifest.read_text())
    assert (noted["sha512"], noted["sha256"]) == (hashlib.sha512(disk).hexdigest(), _sha256(disk))
    assert noted["verified"] == done.verified
    # By SHA-512 too, nothing is downloaded twice.
    shelf.asked.clear()
    assert _pull("one", url, checksums=sums).is_new is False
    assert [path for path, _ in shelf.asked] == ["/SHA512SUMS"]


def test_a_list_that_cannot_be_read_stops_it_before_the_download(
    store: Path, shelf: Shelf, disk: bytes
) -> None:
    url = shelf.put("/disk.qcow2", disk)
    with pytest.raises(DownloadError) as caught:
        _pull("one", url, checksums=f"{shelf.url}/none")
    assert str(caught.value) == (
        "image: the vendor's checksums cannot be read, and nothing counts without them: "
        f"{shelf.url}/none: the server answers 404 (it was moved, or never there)"
    )
    assert [path for path, _ in shelf.asked] == ["/none"]
    assert list_images() == ()


@pytest.mark.parametrize("how", ["wrong", "cut", "not an image", "an overlay"])
def test_whatever_goes_wrong_the_image_stays_as_it_was(
    how: str, store: Path, shelf: Shelf, disk: bytes, tmp_path: Path
) -> None:
    before = _pull("one", shelf.put("/old.qcow2", disk), sha256=_sha256(disk)).image
    fresh = qcow2(tmp_path / "fresh.qcow2", content=b"fresh").read_bytes()
    data = {"not an image": b"<html>no</html>", "an overlay": fresh[:8] + b"\1" * 12 + fresh[20:]}.get(
        how, fresh
    )
    wanted = _sha256(b"other") if how == "wrong" else _sha256(data)
    url = shelf.put("/new.qcow2", data, ends=[1000, 0] if how == "cut" else [None])
    with pytest.raises(LabrunError):
        _pull("one", url, sha256=wanted)
    assert list_images() == (before,)
    assert image_paths("one").disk.read_bytes() == disk
    beginnings = [name for name in _left(store) if name.startswith(".download-")]
    assert len(beginnings) == (2 if how == "cut" else 0)
    if how == "cut":
        shelf.files["/new.qcow2"].ends = [None]
        assert _pull("one", url, sha256=wanted).is_new is True
        assert shelf.asked[-1] == ("/new.qcow2", "bytes=1000-")
        assert _left(store) == [f"one-{wanted[:16]}"]


def test_one_content_is_one_file_under_all_its_names(store: Path, shelf: Shelf, disk: bytes) -> None:
    url = shelf.put("/disk.qcow2", disk)
    _pull("one", url, sha256=_sha256(disk))
    shelf.asked.clear()
    other = _pull("two", f"{shelf.url}/elsewhere.qcow2", sha256=_sha256(disk))
    assert (other.is_new, shelf.asked) == (True, [])
    assert image_paths("one").disk.samefile(image_paths("two").disk)
    assert _pull("two", url, sha256=_sha256(disk)).is_new is False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_ended_leaves_no_image_and_the_next_resumes(
    how: signal.Signals, store: Path, shelf: Shelf, disk: bytes, tmp_path: Path
) -> None:
    url = shelf.put("/disk.qcow2", disk, ends=[1000], stalls=True)
    words = ["labrun", "image", "pull", url, "--sha256", _sha256(disk), "--name", "one"]
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as pull:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size == 1000 for path in store.glob("versions/.download-*")):
            assert time.monotonic() < deadline, "nothing came"
            assert pull.poll() is None
            time.sleep(0.05)
        assert list_images() == ()
        pull.send_signal(how)
        pull.communicate(timeout=60)
    assert pull.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[how]
    assert list_images() == ()
    shelf.put("/disk.qcow2", disk)
    assert _pull("one", url, sha256=_sha256(disk)).is_new is True
    assert shelf.asked[-1] == ("/disk.qcow2", "bytes=1000-")
    assert _left(store) == [f"one-{_sha256(disk)[:16]}"]


def test_a_built_image_is_not_replaced(store: Path, shelf: Shelf) -> None:
    (store / "debian-12" / "rootfs").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^debian-12 is an image that labrun built "):
        pull_image("debian-12", origin_of("debian-12"), print)
    assert shelf.asked == []


def test_beginnings_go_unless_somebody_is_at_them(store: Path, shelf: Shelf, disk: bytes) -> None:
    url = shelf.put("/disk.qcow2", disk, ends=[1000, 0])
    with pytest.raises(DownloadError):
        _pull("one", url, sha256=_sha256(disk))
    (lock,) = (store / "versions").glob(".download-*.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert abandon_downloads() == ()
    assert abandon_downloads() == (lock.with_suffix("").name,)
    assert _left(store) == []
    assert abandon_downloads() == ()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_image_of_the_catalogue_is_complete(name: str, arch: str) -> None:
    """Nobody can be asked here, so what can be wrong in the table itself is looked for."""
    image, origin = CATALOGUE[name], origin_of(name, arch=arch)
    addresses = [*origin.urls, origin.checksums, *([origin.signature] if origin.signature else [])]
    assert all(is_private(url) and "{" not in url for url in addresses)
    assert all(url.startswith(origin.urls[0].rpartition("/")[0] + "/") for url in addresses)
    assert origin.urls[0].endswith(f"/{origin.file}")
    assert origin.file.endswith((".qcow2", ".img"))
    assert {"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64", "arm64")}[arch][
        "amd64" in origin.file or "arm64" in origin.file
    ] in origin.file
    assert origin.digest is None
    assert image.user
    assert image.family in ("debian", "rhel", "fedora", "suse", "alpine")
    assert set(image.firmware) == set(ARCHITECTURES)
    verb = "build" if name in ("debian-12", "debian-13") else "pull"
    assert source_of_image(name, "qemu") == f"labrun image {verb} {name}"


def test_a_mirror_comes_first_and_proves_nothing(store: Path, shelf: Shelf) -> None:
    origin = origin_of("debian-13", arch="x86_64", mirrors=["http://mirror.lan/debian/"])
    assert origin.urls[0] == "http://mirror.lan/debian/debian-13-genericcloud-amd64.qcow2"
    assert origin.urls[1].startswith("https://cloud.debian.org/")
    assert origin.checksums == "https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS"


def test_the_command(store: Path, shelf: Shelf, disk: bytes, tmp_path: Path) -> None:
    env = {"LABRUN_IMAGE_DIR": str(store), "no_proxy": "127.0.0.1", "COLUMNS": "1000"}
    url = shelf.put("/Cloud-13.qcow2", disk)

    def run(*arguments: str) -> tuple[int, dict[str, str]]:
        done = run_labrun("image", "pull", *arguments, "--json", cwd=tmp_path, env=env)
        document = json.loads(done.stdout)
        return done.returncode, (document["results"] or [{"error": document["error"]}])[0]

    code, row = run(url, "--sha256", _sha256(disk))
    assert (code, row["name"], row["status"], row["actual"]) == (0, "cloud-13", "changed", "pulled")
    assert row["why"] == "sha256 as given"
    code, row = run(url, "--sha256", _sha256(disk))
    assert (code, row["status"], row["actual"]) == (0, "ok", "pulled before")
    code, row = run(url, "--name", "unproven")
    assert (code, row["status"]) == (0, "changed")
    assert row["why"] == "not verified: no checksum was given, only HTTPS vouches for it"
    code, row = run(url, "--sha256", _sha256(b"other"))
    assert code == 1
    assert row["error"].startswith(f"image: what came from {url} has another checksum: sha256 ")
    for arguments, why in (
        (["nonsense"], 'there is no image "nonsense" in the catalogue'),
        ([url, "--sha256", "abc"], "abc is neither SHA-256 nor SHA-512"),
        ([url, "--mirror", shelf.url], "--mirror and --arch go with a name of the catalogue"),
        ([f"{shelf.url}/"], "the address has no file name at its end"),
        ([url, "--name", "Bad Name"], "'Bad Name' cannot be the name of an image"),
    ):
        code, row = run(*arguments)
        assert (code, row["error"]) == (2, why)
    assert [image.name for image in list_images()] == ["cloud-13", "unproven"]
