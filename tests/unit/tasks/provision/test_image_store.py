"""The image store: imports that are checked, atomic and repeatable, and names that hold no surprises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from labrun.errors import LabrunError, UsageError
from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_manifest import find_image
from labrun.tasks.provision.image_store import disk_digest, image_paths, list_images
from tests.unit.command_line import run_labrun
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "images"
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(directory))
    return directory


def test_an_empty_store_has_no_images(store: Path) -> None:
    assert list_images() == ()
    assert not store.exists()


@needs_qemu_img
def test_an_import_is_listed_with_its_digest(store: Path, tmp_path: Path) -> None:
    source = qcow2(tmp_path / "cloud.qcow2")
    shares: list[float] = []
    image = import_image(source, "debian-13", progress=lambda _what, share: shares.append(share))
    assert list_images() == (image,)
    assert image.drivers == ("qemu",)
    assert image.sha256 == sha256(source.read_bytes()).hexdigest()
    assert image.disk_bytes == source.stat().st_size
    assert image.source == "cloud.qcow2"
    assert shares[-1] == 1.0
    stored = image_paths("debian-13")
    assert stored.disk.read_bytes() == source.read_bytes()
    assert disk_digest(stored) == image.sha256
    assert json.loads(stored.manifest.read_text(encoding="utf-8"))["virtual_size"] == 1024 * 1024


@needs_qemu_img
def test_what_killed_imports_left_goes_with_the_next(store: Path, tmp_path: Path) -> None:
    """Whenever it was killed: while copying, before the name moved, before the version before it went."""
    first = import_image(qcow2(tmp_path / "first.qcow2"), "one")
    other = import_image(qcow2(tmp_path / "other.qcow2", content=b"other"), "one-two")
    versions = store / "versions"
    (kept,) = versions.glob("one-" + first.sha256[:16])
    shutil.copytree(kept, versions / "one-0123456789abcdef")
    (versions / ".import-one").mkdir()
    (versions / ".import-one" / "disk.qcow2").write_bytes(b"half")
    (versions / ".one.link").symlink_to("nowhere")
    second = import_image(qcow2(tmp_path / "second.qcow2", content=b"two"), "one")
    expected = {f"one-{second.sha256[:16]}", f"one-two-{other.sha256[:16]}"}
    assert {path.name for path in versions.iterdir()} == expected
    assert list_images() == (second, other)


@needs_qemu_img
def test_the_same_import_again_stores_nothing_new(store: Path, tmp_path: Path) -> None:
    source = qcow2(tmp_path / "cloud.qcow2")
    import_image(source, "one")
    before = sorted(path.name for path in (store / "versions").iterdir())
    first = image_paths("one").directory
    import_image(source, "one")
    assert sorted(path.name for path in (store / "versions").iterdir()) == before
    assert image_paths("one").directory == first


@needs_qemu_img
def test_another_file_takes_the_name(store: Path, tmp_path: Path) -> None:
    old = import_image(qcow2(tmp_path / "a.qcow2"), "one")
    new = import_image(qcow2(tmp_path / "b.qcow2", content=b"two"), "one")
    assert new.sha256 != old.sha256
    assert list_images() == (new,)
    assert [path.name for path in (store / "versions").iterdir()] == [f"one-{new.sha256[:16]}"]


@needs_qemu_img
def test_an_overlay_is_refused(store: Path, tmp_path: Path) -> None:
    base = qcow2(tmp_path / "base.qcow2")
    overlay = tmp_path / "overlay.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(overlay)]
    subprocess.run(command, check=True)
    with pytest.raises(LabrunError) as caught:
        import_image(overlay, "one")
    assert str(caught.value) == (
        f"image: {overlay} is only an overlay on {base} "
        f"(qemu-img convert -O qcow2 {overlay} overlay-full.qcow2 makes it complete)"
    )
    assert list_images() == ()


@needs_qemu_img
def test_data_in_another_file_is_refused(store: Path, tmp_path: Path) -> None:
    outside = tmp_path / "data.raw"
    path = qcow2(tmp_path / "cloud.qcow2", "-o", f"data_file={outside}")
    with pytest.raises(LabrunError) as caught:
        import_image(path, "one")
    assert str(caught.value) == f"image: {path} keeps its data in another file, {outside}"


@needs_qemu_img
def test_an_interrupted_import_leaves_the_old_image(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = import_image(qcow2(tmp_path / "a.qcow2"), "one")

    def interrupt(_what: str, _share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_image(qcow2(tmp_path / "b.qcow2", content=b"two"), "one", progress=interrupt)
    assert list_images() == (old,)
    assert [path.name for path in (store / "versions").iterdir()] == [f"one-{old.sha256[:16]}"]


@pytest.mark.parametrize("name", ["", "../x", "A", "-x", ".x", "a/b", "versions", "x" * 64, "a b"])
def test_bad_names_are_refused(store: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        image_paths(name)
    assert str(caught.value) == (
        f"{name!r} cannot be the name of an image "
        "(use lower-case letters, digits, dots, hyphens and underscores, at most 63)"
    )


def test_a_file_that_is_not_there(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^.*/none\.qcow2 is not a file$"):
        import_image(tmp_path / "none.qcow2", "one")


def test_a_built_image_is_not_overwritten(store: Path, tmp_path: Path) -> None:
    (store / "debian-12" / "rootfs").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        import_image(tmp_path / "any.qcow2", "debian-12")
    assert str(caught.value) == "debian-12 is an image that labrun built (import it under another name)"


def test_a_disk_without_a_manifest_is_read(store: Path) -> None:
    paths = image_paths("own")
    paths.directory.mkdir(parents=True)
    assert disk_digest(paths) is None
    paths.disk.write_bytes(b"content")
    assert disk_digest(paths) == sha256(b"content").hexdigest()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


BAD_MANIFESTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep": (lambda path: path.write_bytes(b"[" * 60_000), "it is not what labrun wrote"),
    "deep mappings": (lambda path: path.write_bytes(b'{"a":' * 10_000), "it is not what labrun wrote"),
    "a list": (lambda path: path.write_text("[]"), "it is not what labrun wrote"),
    "random": (lambda path: path.write_bytes(bytes(range(256))), "it is not what labrun wrote"),
    "large": (lambda path: path.write_bytes(bytes(100_000)), "it is larger than 65536 bytes"),
    "FIFO": (_fifo, "it is a FIFO"),
    "directory": (Path.mkdir, "it is a directory"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "it is a link"),
    "link": (lambda path: path.symlink_to("/etc/hostname"), "it is a link"),
}


@pytest.mark.parametrize("kind", BAD_MANIFESTS)
def test_one_image_that_cannot_be_read_hides_no_other(kind: str, store: Path, tmp_path: Path) -> None:
    make, why = BAD_MANIFESTS[kind]
    for name in ("bad", "good"):
        (store / name).mkdir(parents=True)
        (store / name / "disk.qcow2").write_bytes(b"disk")
    (store / "good" / "image.json").write_text('{"source": "cloud"}')
    (store / "only-a-manifest").mkdir()
    for name in ("bad", "only-a-manifest"):
        make(store / name / "image.json")
    found = {image.name: (image.drivers, image.unreadable, image.source) for image in list_images()}
    assert found == {
        "bad": (("qemu",), why, ""),
        "good": (("qemu",), "", "cloud"),
        "only-a-manifest": ((), why, ""),
    }
    assert disk_digest(image_paths("bad")) == sha256(b"disk").hexdigest()
    assert find_image(store, "bad") is None
    # However long the store's path is, no reason is wrapped.
    env = {"LABRUN_IMAGE_DIR": str(store), "COLUMNS": "1000"}
    listed = run_labrun("image", "list", cwd=tmp_path, env=env, timeout=30)
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["image", "bad", "good", "only-a-manifest"]
    assert lines[1].endswith(f"unreadable: {why}")
    assert lines[2].endswith("cloud")
    document = json.loads(run_labrun("image", "list", "--json", cwd=tmp_path, env=env).stdout)
    assert [image["unreadable"] for image in document["images"]] == [why, None, why]
