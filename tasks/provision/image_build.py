"""Build labrun's own images: a tree for containers and a disk for VMs, from one recipe.

The layout of the image directory, NAME being for instance ``debian-12``:

``NAME``                         link to the version that new guests get
``versions/NAME-TIME/``          one version: ``rootfs/``, ``disk.qcow2``, ``image.json``
``versions/.build-NAME-TIME/``   a build in progress; the next build removes leftovers of a killed one

A version never changes once guests may use it: a rebuilt image is a new version, and the link moves. A
version is removed when no container uses it; VMs use copies in a libvirt pool.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labrun.errors import LockedError
from labrun.inventory.recipes import Recipe
from labrun.output_logs import line_log
from labrun.tasks.provision.image_command import BuildCancelledError, BuildError, run_command
from labrun.tasks.provision.image_disk import VIRTUAL_SIZE, build_disk
from labrun.tasks.provision.image_manifest import BuiltImage, find_image, read_manifest, write_manifest
from labrun.tasks.provision.image_recipe import (
    merged_recipe,
    recipe_digest,
    recipe_folders,
    recipe_lines,
)
from labrun.tasks.provision.image_steps import (
    DISK_STEPS,
    TREE_STEPS,
    BuildProgress,
    BuildStep,
    DiskSteps,
    TreeSteps,
)
from labrun.tasks.provision.image_store import VERSIONS
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.snapshot_store import trees_of_copies

__all__ = ["BuiltImage", "build_image", "find_image"]

_LOCK_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Build:
    """The input of every step of one build."""

    recipe: Recipe
    files: Path
    digest: str
    versions: Path
    mirror: str | None
    progress: BuildProgress
    cancel: threading.Event | None
    with_disk: bool
    log: Path | None


def build_image(
    recipe: Recipe,
    dest: Path,
    *,
    progress: BuildProgress,
    which: frozenset[str] = frozenset({"lxc", "qemu"}),
    cancel: threading.Event | None = None,
    mirror: str | None = None,
    log: Path | None = None,
) -> BuiltImage:
    """Make sure that ``dest`` has the parts in ``which`` of an image, and return it; existing parts are kept.

    ``lxc`` is the tree, ``qemu`` the disk. ``progress`` gets the words of a step and how far it is.
    ``mirror`` is the URL of a Debian mirror, else mmdebstrap's default. ``log`` gets all that the package
    manager prints. Needs root. Raises :class:`BuildError` with the last lines of output,
    :class:`BuildCancelledError`, or :class:`LockedError` if another build does not end within 15 minutes.
    """
    name, folders = recipe.stored, recipe_folders(recipe)
    digest = recipe_digest(recipe.suite, folders)
    current = find_image(dest, name)
    if current is not None and current.recipe == digest and which <= current.parts:
        return current
    if os.geteuid() != 0:
        raise BuildError(
            f"building {recipe.name} needs root: its files belong to many users", hint="run it with sudo"
        )
    versions = dest / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    with _lock(dest / f".{name}.lock", recipe.name, progress, cancel), merged_recipe(folders) as files:
        build = _Build(recipe, files, digest, versions, mirror, progress, cancel, "qemu" in which, log)
        for unfinished in _versions(versions, name, prefix=".build-"):
            shutil.rmtree(unfinished)
        known = _same_recipe(build)
        image = known or _add_tree(build)
        if "qemu" in which and "qemu" not in image.parts:
            image = _add_disk(build, image, 0 if known else len(TREE_STEPS))
        _point_link(dest, image)
        _remove_unused(versions, name, keep={image.path, current.path if current else image.path})
    progress("done", BuildStep())
    return image


def _versions(versions: Path, name: str, prefix: str = "") -> list[Path]:
    """Return the versions of an image, the oldest first, and none of an image whose name begins like it."""
    shape = re.compile(re.escape(f"{prefix}{name}-") + r"\d{8}T\d{6}")
    return sorted(path for path in versions.iterdir() if shape.fullmatch(path.name))


def _same_recipe(build: _Build) -> BuiltImage | None:
    """Return the newest version from this recipe, if any, even if its disk was never finished."""
    newest_first = reversed(_versions(build.versions, build.recipe.stored))
    found = (image for path in newest_first if (image := read_manifest(path)) is not None)
    return next((image for image in found if image.recipe == build.digest), None)


def _add_tree(build: _Build) -> BuiltImage:
    now = datetime.now(UTC)
    version = f"{build.recipe.stored}-{now:%Y%m%dT%H%M%S}"
    unfinished = build.versions / f".build-{version}"
    unfinished.mkdir()
    _make_tree(build, unfinished / "rootfs")
    image = BuiltImage(
        name=build.recipe.stored,
        path=unfinished,
        recipe=build.digest,
        built=now.replace(microsecond=0),
        parts=frozenset({"lxc"}),
        tree_size=_tree_size(unfinished / "rootfs"),
    )
    write_manifest(image)
    finished = build.versions / version
    unfinished.rename(finished)
    return image.at(finished)


def _make_tree(build: _Build, rootfs: Path) -> None:
    steps = TreeSteps(build.progress, len(TREE_STEPS) + (len(DISK_STEPS) if build.with_disk else 0))
    steps.begin()
    with line_log(build.log) as note:

        def follow(line: str) -> None:
            note(line)
            steps.follow(line)

        try:
            run_command(
                _mmdebstrap(build, rootfs),
                step="packages",
                own_namespaces=True,
                on_line=follow,
                cancel=build.cancel,
            )
        except BuildError as error:
            raise type(error)(error.reason, step=error.step, hint=error.hint or _all_of_it(build)) from error


def _all_of_it(build: _Build) -> str | None:
    return None if build.log is None or not build.log.is_file() else f"all that it printed: {build.log}"


def _mmdebstrap(build: _Build, rootfs: Path) -> list[str]:
    recipe = build.files
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--verbose"]
    command += [f"--include={','.join(recipe_lines(recipe / 'packages'))}", "--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt={line}" for line in recipe_lines(recipe / "dpkg.cfg")]
    command += [f"--aptopt={option}" for option in ['APT::Install-Recommends "false"', *_fetch_options()]]
    # mmdebstrap passes hooks to a shell with the new root as $1; the recipe's path has to be quoted.
    command += [f'--essential-hook=sh {_quoted(recipe / "essential")} "$1" {_quoted(recipe)}']
    command += [f'--customize-hook=sh {_quoted(recipe / "customize")} "$1" {_quoted(recipe)}']
    return [*command, build.recipe.suite, str(rootfs), *([build.mirror] if build.mirror else [])]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _fetch_options() -> list[str]:
    """Return this machine's apt settings for fetching (proxies, date checks), which apply here too."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    kept = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-", "Acquire::Retries")
    settings = (line for line in dump.splitlines() if line.startswith(kept) and not line.endswith(' "";'))
    return [line.rstrip(";") for line in settings]


def _add_disk(build: _Build, image: BuiltImage, before: int) -> BuiltImage:
    share = DiskSteps(build.progress, before)
    work = build.versions / f".build-{image.path.name}"
    work.mkdir()
    build_disk(image.rootfs, build.files, work / "disk.qcow2", progress=share, cancel=build.cancel)
    with (work / "disk.qcow2").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (work / "disk.qcow2").rename(image.path / "disk.qcow2")
    work.rmdir()
    image = image.with_disk((image.path / "disk.qcow2").stat().st_size, VIRTUAL_SIZE, digest)
    write_manifest(image)
    return image


def _tree_size(rootfs: Path) -> int:
    return sum(path.lstat().st_size for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink())


def _point_link(dest: Path, image: BuiltImage) -> None:
    link = dest / image.name
    fresh = dest / f".{image.name}.link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(image.path.relative_to(dest))
    fresh.replace(link)


def _remove_unused(versions: Path, name: str, keep: set[Path]) -> None:
    """Delete versions without containers; the one before this may be getting its first right now."""
    in_use = {Path(note.read_text(encoding="utf-8")).parent for note in LABS.glob("*/*/complete")}
    in_use |= trees_of_copies()
    for path in _versions(versions, name):
        if read_manifest(path) is not None and path.resolve() not in in_use | keep:
            shutil.rmtree(path)


@contextmanager
def _lock(path: Path, name: str, progress: BuildProgress, cancel: threading.Event | None) -> Iterator[None]:
    """Hold the lock of this image's build; the kernel releases it if labrun is killed."""
    deadline = time.monotonic() + _LOCK_SECONDS
    pause = cancel or threading.Event()
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("waiting for another build", BuildStep())
            if time.monotonic() > deadline:
                raise LockedError(
                    f"a build of {name} has not finished in 15 minutes", hint=f"its lock: {path}"
                )
            if pause.wait(0.5):
                raise BuildCancelledError("stopped on request", step="waiting")
        yield
