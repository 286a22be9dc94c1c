"""What a build does without building: versions, the link, what is left over, what is not done again."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labrun.inventory.recipes import RECIPES
from labrun.tasks.provision import image_build
from labrun.tasks.provision.image_build import build_image
from labrun.tasks.provision.image_command import BuildCancelledError, BuildError
from labrun.tasks.provision.image_manifest import BuiltImage, find_image, read_manifest, write_manifest
from labrun.tasks.provision.image_recipe import recipe_digest, recipe_folders
from labrun.tasks.provision.image_steps import BuildStep

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root")

DEBIAN_12 = RECIPES["debian-12"]
DIGEST = recipe_digest(DEBIAN_12.suite, recipe_folders(DEBIAN_12))
BUILT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _version(dest: Path, name: str = "debian-12-20260102T030405", recipe: str | None = None) -> BuiltImage:
    """Put a finished version with a tiny tree under ``dest``; nothing links to it yet."""
    path = dest / "versions" / name
    (path / "rootfs" / "boot").mkdir(parents=True)
    digest = DIGEST if recipe is None else recipe
    image = BuiltImage("debian-12", path, digest, BUILT, frozenset({"lxc"}), tree_size=0)
    write_manifest(image)
    return image


def _link(dest: Path, image: BuiltImage) -> None:
    (dest / "debian-12").symlink_to(image.path.relative_to(dest))


def _never(stage: str, step: BuildStep) -> None:
    raise AssertionError(f"something was done: {stage}")


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    image = BuiltImage("debian-12", tmp_path, "ab", BUILT, frozenset({"lxc"}), 5).with_disk(6, 7, "cd")
    write_manifest(image)
    assert read_manifest(tmp_path) == image
    assert image.parts == {"lxc", "qemu"}
    assert (image.rootfs, image.disk) == (tmp_path / "rootfs", tmp_path / "disk.qcow2")
    assert [path.name for path in tmp_path.iterdir()] == ["image.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "name": "debian-12"}', "{"]
)
def test_what_is_no_manifest_is_no_image(tmp_path: Path, content: str) -> None:
    (tmp_path / "image.json").write_text(content)
    assert read_manifest(tmp_path) is None


def test_an_image_is_found_as_the_version_behind_the_link(tmp_path: Path) -> None:
    assert find_image(tmp_path, "debian-12") is None
    image = _version(tmp_path)
    _link(tmp_path, image)
    found = find_image(tmp_path, "debian-12")
    assert found is not None
    assert found.path == image.path


def test_an_unchanged_recipe_is_not_built_again(tmp_path: Path) -> None:
    image = _version(tmp_path)
    _link(tmp_path, image)
    assert build_image(DEBIAN_12, tmp_path, progress=_never, which=frozenset({"lxc"})) == image
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debian-12", "versions"]


@needs_root
def test_a_finished_tree_only_gets_its_disk(tmp_path: Path) -> None:
    image = _version(tmp_path)
    stages: list[str] = []
    built = build_image(DEBIAN_12, tmp_path, progress=lambda stage, _: stages.append(stage))
    assert built.path == image.path
    assert built.parts == {"lxc", "qemu"}
    assert list(dict.fromkeys(stages)) == ["root file system", "boot loader", "qcow2", "done"]
    assert built.disk.stat().st_size == built.disk_size
    assert find_image(tmp_path, "debian-12") == built
    assert json.loads((tmp_path / "debian-12" / "image.json").read_text())["sha256"] == built.sha256
    assert build_image(DEBIAN_12, tmp_path, progress=_never) == built


@needs_root
def test_what_a_killed_build_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    image = _version(tmp_path)
    versions = tmp_path / "versions"
    killed = versions / ".build-debian-12-20250101T000000" / "rootfs"
    killed.mkdir(parents=True)
    variant = versions / ".build-debian-12-networkd-20250101T000000"
    variant.mkdir()
    importing = versions / ".debian-12-special-abc"
    importing.mkdir()
    older = _version(tmp_path, "debian-12-20250101T000000", recipe="another")
    _link(tmp_path, older)
    built = build_image(DEBIAN_12, tmp_path, progress=lambda *_: None, which=frozenset({"lxc"}))
    assert built == image
    assert sorted(versions.iterdir()) == sorted([image.path, importing, variant, older.path])


@needs_root
def test_versions_go_when_no_container_lies_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_build, "LABS", tmp_path / "labs")
    names = [f"debian-12-2025010{day}T000000" for day in (1, 2, 3)]
    unused, used, before = (_version(tmp_path, name, recipe=name) for name in names)
    _link(tmp_path, before)
    note = tmp_path / "labs" / "lab" / "host01" / "complete"
    note.parent.mkdir(parents=True)
    note.write_text(str(used.rootfs))
    wanted = _version(tmp_path)
    build_image(DEBIAN_12, tmp_path, progress=lambda *_: None, which=frozenset({"lxc"}))
    assert not unused.path.exists()
    assert set((tmp_path / "versions").iterdir()) == {used.path, before.path, wanted.path}


@needs_root
def test_the_newest_version_of_the_recipe_counts_and_no_imported_one(tmp_path: Path) -> None:
    _version(tmp_path, "debian-12-20260101T000000")
    newest = _version(tmp_path, "debian-12-20260301T000000")
    _version(tmp_path, "debian-12-20260401T000000", recipe="another")
    imported = _version(tmp_path, "debian-12-special-0123456789abcdef")
    write_manifest(replace(imported, name="debian-12-special"))
    assert build_image(DEBIAN_12, tmp_path, progress=lambda *_: None, which=frozenset({"lxc"})) == newest


@needs_root
def test_a_build_waits_for_another_and_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    cancel = threading.Event()
    stages: list[str] = []

    def follow(stage: str, step: BuildStep) -> None:
        stages.append(stage)
        cancel.set()

    with (tmp_path / ".debian-12.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BuildCancelledError, match=r"^waiting: stopped on request$"):
            build_image(DEBIAN_12, tmp_path, progress=follow, cancel=cancel)
    assert stages == ["waiting for another build"]


@needs_root
def test_a_failed_step_says_what_its_command_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bin" / "mmdebstrap"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho E: no mirror answers >&2\nexit 25\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    with pytest.raises(BuildError) as caught:
        build_image(DEBIAN_12, tmp_path / "images", progress=lambda *_: None)
    assert str(caught.value) == "packages: mmdebstrap ended with status 25:\nE: no mirror answers"
    assert not (tmp_path / "images" / "debian-12").exists()


@needs_root
def test_all_that_the_package_manager_said_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "bin" / "mmdebstrap"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\nseq 100\necho E: the end\nexit 25\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{failing.parent}:{os.environ['PATH']}")
    log = tmp_path / "state" / "logs" / "image-debian-12.log"
    with pytest.raises(BuildError) as caught:
        build_image(DEBIAN_12, tmp_path / "images", progress=lambda *_: None, log=log)
    said = caught.value.reason.splitlines()
    assert said[0] == "mmdebstrap ended with status 25:"
    assert (said[-1], len(said)) == ("E: the end", 16)
    assert caught.value.hint == f"all that it printed: {log}"
    assert log.read_text() == "".join(f"{number}\n" for number in range(1, 101)) + "E: the end\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@needs_root
def test_a_log_that_cannot_be_written_stops_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "bin" / "mmdebstrap"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\necho E: the end\nexit 25\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{failing.parent}:{os.environ['PATH']}")
    log = tmp_path / "file" / "image-debian-12.log"
    log.parent.write_text("in the way")
    with pytest.raises(BuildError) as caught:
        build_image(DEBIAN_12, tmp_path / "images", progress=lambda *_: None, log=log)
    assert (caught.value.reason, caught.value.hint) == (
        "mmdebstrap ended with status 25:\nE: the end",
        None,
    )


def test_building_without_root_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError) as caught:
        build_image(DEBIAN_12, tmp_path, progress=_never)
    assert (
        str(caught.value)
        == "building debian-12 needs root: its files belong to many users (run it with sudo)"
    )
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_a_variant_is_an_image_beside_the_plain_one(tmp_path: Path) -> None:
    _link(tmp_path, _version(tmp_path))
    recipe = RECIPES["debian-12:networkd"]
    digest = recipe_digest(recipe.suite, recipe_folders(recipe))
    path = tmp_path / "versions" / "debian-12-networkd-20260102T030405"
    (path / "rootfs").mkdir(parents=True)
    write_manifest(BuiltImage("debian-12-networkd", path, digest, BUILT, frozenset({"lxc"}), tree_size=0))
    built = build_image(recipe, tmp_path, progress=lambda *_: None, which=frozenset({"lxc"}))
    assert (built.name, built.path) == ("debian-12-networkd", path)
    assert find_image(tmp_path, "debian-12-networkd") == built
    plain = find_image(tmp_path, "debian-12")
    assert plain is not None
    assert plain.recipe == DIGEST != digest
