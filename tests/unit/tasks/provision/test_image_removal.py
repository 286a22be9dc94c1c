"""Images go when nobody uses them, whole, and nothing of another image goes with them."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from labrun.errors import HypervisorError, LabrunError, LockedError, UsageError
from labrun.tasks.provision import image_users
from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_removal import prune_images, remove_image
from labrun.tasks.provision.image_store import image_paths, list_images
from labrun.tasks.provision.image_users import ImageUsers, find_users
from tests.unit.command_line import run_labrun
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2

NOBODY = ImageUsers({})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "images"
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(directory))
    return directory


def _built(store: Path, name: str, version: str) -> Path:
    """Make a version of a built image, without the name."""
    path = store / "versions" / version
    (path / "rootfs").mkdir(parents=True)
    manifest = {
        "format": 1,
        "name": name,
        "recipe": "r",
        "tree_size": 3 * 2**20,
        "built": "2026-01-01T00:00:00Z",
    }
    (path / "image.json").write_text(json.dumps(manifest))
    return path


def _names(store: Path) -> set[str]:
    return {path.name for path in (store / "versions").iterdir()}


@needs_qemu_img
def test_an_image_goes_with_all_its_versions_and_no_others(store: Path, tmp_path: Path) -> None:
    import_image(qcow2(tmp_path / "a.qcow2"), "t-gone")
    kept = import_image(qcow2(tmp_path / "b.qcow2"), "t-gone-too")
    _built(store, "t-gone", "t-gone-20260101T000000")
    remove_image("t-gone", NOBODY)
    assert list_images() == (kept,)
    assert _names(store) == {f"t-gone-too-{kept.sha256[:16]}"}
    with pytest.raises(UsageError, match=r"^there is no image t-gone \(`labrun image list` shows those"):
        remove_image("t-gone", NOBODY)


def test_one_that_is_used_stays(store: Path) -> None:
    (store / "t-used" / "rootfs").mkdir(parents=True)
    users = ImageUsers({"t-used": ("demo/one", "demo/two")})
    with pytest.raises(LabrunError) as caught:
        remove_image("t-used", users)
    assert str(caught.value) == (
        "image: used by demo/one, demo/two (`labrun down` in their labs, then repeat this)"
    )
    assert image_paths("t-used").rootfs.is_dir()
    assert prune_images(users, unused=True) == ()


def test_nothing_goes_while_nobody_can_tell_who_uses_it(store: Path) -> None:
    (store / "t-one" / "rootfs").mkdir(parents=True)
    users = ImageUsers({}, unasked="cannot open qemu:///system")
    for work in (lambda: remove_image("t-one", users), lambda: prune_images(users, unused=True)):
        with pytest.raises(HypervisorError, match=r"^image: nobody can tell which images are in use: cannot"):
            work()
    assert image_paths("t-one").rootfs.is_dir()


def test_one_that_is_just_being_made_stays(store: Path) -> None:
    (store / "t-one" / "rootfs").mkdir(parents=True)
    unfinished = store / "versions" / ".build-t-one-20260101T000000"
    unfinished.mkdir(parents=True)
    with (store / ".t-one.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match=r"^another labrun is making the image t-one \(repeat this"):
            remove_image("t-one", NOBODY)
        assert prune_images(NOBODY) == ()
        assert unfinished.is_dir()
    assert prune_images(NOBODY) == (unfinished.name,)
    assert prune_images(NOBODY) == ()


def test_prune_leaves_what_has_a_name_or_a_container(store: Path) -> None:
    old, used, now = (_built(store, "t-built", f"t-built-2026010{day}T000000") for day in (1, 2, 3))
    (store / "t-built").symlink_to(now.relative_to(store))
    for leftover in (".import-t-built", ".build-t-built-20260101T000000"):
        (store / "versions" / leftover).mkdir()
    users = ImageUsers({"t-built": ("demo/one",)}, trees=frozenset({used}))
    gone = prune_images(users)
    assert set(gone) == {old.name, ".import-t-built", ".build-t-built-20260101T000000"}
    assert _names(store) == {used.name, now.name}
    assert prune_images(users) == ()
    assert prune_images(ImageUsers({}, trees=frozenset({used})), unused=True) == ("t-built",)


def test_a_container_keeps_its_image_without_a_domain(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is made or after somebody undefined it, only its overlay tells of it."""
    version = _built(store, "t-built", "t-built-20260101T000000")
    note = tmp_path / "labs" / "demo" / "one" / "complete"
    note.parent.mkdir(parents=True)
    note.write_text(str(version / "rootfs"))
    monkeypatch.setattr(image_users, "LABS", tmp_path / "labs")
    users = find_users()
    assert users.of("t-built") == ("demo/one",)
    assert version in users.trees


def test_the_commands_say_what_they_did(store: Path, tmp_path: Path) -> None:
    version = _built(store, "t-built", "t-built-20260101T000000")
    (store / "t-built").symlink_to(version.relative_to(store))
    env = {"LABRUN_IMAGE_DIR": str(store), "COLUMNS": "1000"}
    document = json.loads(run_labrun("image", "list", "--json", cwd=tmp_path, env=env).stdout)
    (image,) = document["images"]
    assert (image["name"], image["tree_bytes"], image["disk_bytes"]) == ("t-built", 3 * 2**20, 0)
    assert image["used_by"] in ([], None)
    line = run_labrun("image", "list", cwd=tmp_path, env=env).stdout.splitlines()[1]
    assert line.split()[:4] == ["t-built", "containers", "3", "MiB"]
    missing = run_labrun("image", "remove", "t-none", cwd=tmp_path, env=env)
    if image["used_by"] is None:
        assert (missing.returncode, "nobody can tell which images" in missing.stderr) == (5, True)
        return
    assert missing.returncode == 2
    assert "there is no image t-none" in missing.stderr
    asked = run_labrun("image", "prune", "--all", cwd=tmp_path, env=env)
    assert (asked.returncode, "This needs confirmation, and there is no" in asked.stderr) == (
        2,
        True,
    )
    done = run_labrun("image", "remove", "t-built", "--json", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["results"]
    assert (row["section"], row["name"], row["status"], row["actual"]) == (
        "image",
        "t-built",
        "changed",
        "removed",
    )
    pruned = run_labrun("image", "prune", cwd=tmp_path, env=env)
    assert (pruned.returncode, pruned.stdout) == (0, "nothing to remove\n")
