"""Where snapshots and forks are kept: what counts as one, what is refused, what images they stand on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labrun.errors import UsageError
from labrun.tasks.provision import image_build, snapshot_store
from labrun.tasks.provision.snapshot_store import (
    KeptMachine,
    Snapshot,
    Store,
    finish_snapshot,
    remove_snapshot,
    snapshots_on,
    trees_of_copies,
)

CONTAINER = KeptMachine(
    "lxc",
    "lxc:///system",
    "demo-one",
    "running",
    "debian-12",
    "/images/.versions/debian-12-1/rootfs",
    {"memory": "256"},
    ("10.0.0.1",),
    "ssh-ed25519 AAAA",
)
VM = KeptMachine("qemu", "qemu:///system", "demo-two", "shut off", "debian-12", "debian-12-0123.qcow2")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = replace(snapshot_store.SNAPSHOTS, base=tmp_path / "snapshots")
    monkeypatch.setattr(snapshot_store, "SNAPSHOTS", made)
    monkeypatch.setattr(snapshot_store, "FORKS", replace(snapshot_store.FORKS, base=tmp_path / "forks"))
    return made


def save(
    store: Store, name: str, made: str = "2026-11-30T12:00:00+00:00", base: str = CONTAINER.base
) -> Snapshot:
    part = store.begin("demo", name)
    machines = {"one": replace(CONTAINER, base=base), "two": VM}
    snapshot = Snapshot("demo", name, made, store.folder("demo") / name, machines)
    finish_snapshot(part, snapshot)
    return snapshot


def test_what_was_written_is_read_again(store: Store) -> None:
    saved = save(store, "good")
    assert store.find("demo", "good") == saved
    assert store.all() == (saved,)
    assert (store.folder("demo").stat().st_mode & 0o777, saved.has_memory) == (0o700, False)


def test_they_are_listed_by_age_and_the_newest_of_all_is_known(store: Store) -> None:
    save(store, "b", "2026-11-30T12:00:00+00:00")
    save(store, "a", "2026-11-30T13:00:00+00:00")
    save(snapshot_store.FORKS, "c", "2026-11-30T12:30:00+00:00")
    assert [each.name for each in store.of("demo")] == ["b", "a"]
    newest = snapshot_store.newest("demo")
    assert newest is not None
    assert newest.name == "a"
    assert snapshot_store.newest("other") is None


@pytest.mark.parametrize("name", ["", "A", "../x", ".x", "-x", "x/y", "x" * 41, "ä", "x\n"])
def test_names_that_none_can_have(store: Store, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        store.begin("demo", name)
    assert caught.value.reason == f'a snapshot cannot be called "{name}"'
    assert caught.value.hint == "a lower-case letter or a digit, then up to 39 of a-z 0-9 . _ -"


def test_one_that_is_there_is_never_replaced_and_one_that_is_not_is_named(store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        store.find("demo", "bad")
    assert (caught.value.reason, caught.value.hint) == (
        'the lab demo has no snapshot "bad"',
        "`labrun snapshot save NAME` makes one",
    )
    save(store, "good")
    with pytest.raises(UsageError) as caught:
        store.begin("demo", "good")
    assert caught.value.reason == 'there is a snapshot "good" already'
    with pytest.raises(UsageError) as caught:
        store.find("demo", "bad")
    assert caught.value.hint == "there are good"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 2}', '{"format": 1, "made": "x", "machines": {"one": {"kind": 1}}}'],
)
def test_a_folder_without_a_manifest_of_ours_is_none(store: Store, content: str) -> None:
    saved = save(store, "good")
    (saved.folder / "snapshot.json").write_text(content)
    assert store.of("demo") == ()


def test_what_a_killed_run_has_left_is_none_and_the_next_begins_anew(store: Store) -> None:
    part = store.begin("demo", "half")
    (part / "one").mkdir()
    assert store.of("demo") == ()
    assert list(store.begin("demo", "half").iterdir()) == []
    saved = save(store, "good")
    remove_snapshot(saved)
    assert store.of("demo") == ()
    store.remove_lab("demo")
    store.remove_lab("demo")
    assert not store.folder("demo").exists()


def test_an_image_version_under_a_snapshot_or_a_fork_stays_when_the_image_is_built_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_build, "LABS", tmp_path / "labs")
    monkeypatch.setattr(image_build, "read_manifest", lambda path: path)
    versions = tmp_path / "versions"
    names = [f"debian-12-20260101T00000{number}" for number in range(3)]
    for name in names:
        (versions / name / "rootfs").mkdir(parents=True)
    save(store, "good", base=str(versions / names[0] / "rootfs"))
    save(snapshot_store.FORKS, "fork", base=f"/somewhere/upper:{versions / names[1] / 'rootfs'}")
    assert trees_of_copies() == {versions / name for name in names[:2]}
    image_build._remove_unused(versions, "debian-12", set())
    assert sorted(path.name for path in versions.iterdir()) == names[:2]


def test_labs_of_one_name_on_several_hypervisors_have_snapshots_of_their_own(store: Store) -> None:
    b, c = (replace(VM, uri=f"qemu+ssh://root@{name}/system") for name in "bc")
    kinds = {"here": {"one": CONTAINER}, "far": {"one": b}, "both": {"one": CONTAINER, "two": b}}
    for name, machines in {**kinds, "spread": {"one": b, "two": c}}.items():
        part = store.begin("demo", name)
        finish_snapshot(part, Snapshot("demo", name, "2026-01-01", store.folder("demo") / name, machines))

    def on(uri: str) -> set[str]:
        return {each.name for each in snapshots_on("demo", uri)}

    assert on("lxc:///system") == on("qemu:///system") == {"here", "both"}
    assert on(b.uri) == {"far"}
    assert on(c.uri) == set()


def test_what_a_snapshot_has_on_other_machines_is_known_by_host(tmp_path: Path) -> None:
    far = replace(VM, uri="qemu+ssh://root@b/system", state="running")
    made = Snapshot("demo", "s", "2026-01-01T00:00:00.000+00:00", tmp_path, {"one": CONTAINER, "two": far})
    assert made.far == {"two": "qemu+ssh://root@b/system"}
    assert made.has_memory
    off = replace(made, machines={"one": CONTAINER, "two": replace(far, state="shut off")})
    assert not off.has_memory
