"""A container's root: an overlay on the image, mounted where libvirtd sees it, and its cgroups."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import HypervisorError
from labrun.hypervisor import in_daemon_namespace
from labrun.tasks.guest.scripts import guest_script, hypervisor_script, unit_file
from labrun.tasks.provision.driver import Seed

__all__ = ["DIRECT_UNIT", "LABS", "Overlay", "remove_cgroups", "remove_groups"]

LABS = Path("/var/lib/labrun/labs")
"""The directory on the hypervisor for the files of every lab's machines."""

# Beside a hundred containers that come or go, a mount or the end of a group can take long.
_SECONDS = 120
DIRECT_UNIT = "labrun-direct.service"
"""The unit that makes Ethernet devices of a container's NICs on macvtap networks."""


def _run(command: list[str], what: str, *, host: str | None = None, script: str | None = None) -> None:
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"{what}: {error}", host=host, step="overlay") from error
    if done.returncode != 0:
        raise HypervisorError(f"{what}: {done.stderr.strip() or done.returncode}", host=host, step="overlay")


@dataclass(frozen=True, slots=True)
class Overlay:
    """The files of one container: ``root`` is the mount point of the overlay of ``upper`` on an image."""

    directory: Path
    uri: str

    @classmethod
    def of(cls, lab: str, host: str, uri: str) -> Overlay:
        """Return the overlay of a lab's host, without creating it."""
        return cls(LABS / lab / host, uri)

    @property
    def root(self) -> Path:
        """Return the mount point."""
        return self.directory / "root"

    @property
    def upper(self) -> Path:
        """Return the directory that takes the container's writes."""
        return self.directory / "upper"

    @property
    def exists(self) -> bool:
        """Tell whether the overlay was created completely."""
        return (self.directory / "complete").exists()

    def is_mounted(self) -> bool:
        """Tell whether libvirtd sees the overlay at ``root``."""
        command = [*in_daemon_namespace(self.uri), "mountpoint", "-q", str(self.root)]
        return subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS).returncode == 0

    @property
    def lower(self) -> Path:
        """Return the image tree under the overlay; a rebuilt image has a different one."""
        return Path((self.directory / "complete").read_text(encoding="utf-8"))

    def make(self, seed: Seed, lower: Path) -> None:
        """Create an empty upper layer that holds the seed, replacing leftovers of an interrupted run.

        ``lower`` is the image's tree, recorded for every later mount.
        """
        self.remove()
        nocloud = self.upper / "var/lib/cloud/seed/nocloud"
        try:
            for path in (self.directory / "work", self.root, nocloud):
                path.mkdir(parents=True)
            self.directory.chmod(0o700)
            nocloud.chmod(0o700)
            for name, text in (
                ("meta-data", seed.meta_data),
                ("user-data", seed.user_data),
                ("network-config", seed.network_config),
            ):
                (nocloud / name).write_text(text, encoding="utf-8")
            self._add_direct_nics()
            (self.directory / "complete").write_text(str(lower), encoding="utf-8")
        except OSError as error:
            raise HypervisorError(
                f"cannot write {error.filename}: {error.strerror}", step="overlay", hint="lxc labs need root"
            ) from error

    def _add_direct_nics(self) -> None:
        """Add the unit that makes Ethernet devices of NICs on macvtap networks, also of later ones."""
        script = self.upper / "usr/local/lib/labrun/direct_nics.sh"
        units = self.upper / "etc/systemd/system"
        wanted = units / "sysinit.target.wants"
        for folder in (script.parent, wanted):
            folder.mkdir(parents=True)
        script.write_text(guest_script("direct_nics"), encoding="utf-8")
        (units / DIRECT_UNIT).write_text(unit_file(DIRECT_UNIT), encoding="utf-8")
        (wanted / DIRECT_UNIT).symlink_to(f"../{DIRECT_UNIT}")

    @property
    def staged(self) -> Path:
        """Return the directory of an upper layer that waits to replace the present one."""
        return self.directory / "upper.staged"

    def replace_upper(self, lower: Path) -> None:
        """Put the staged upper layer in the place of the present one, on ``lower``; the container is off."""
        self.unmount()
        mark, former = self.directory / "complete", self.directory / "upper.former"
        try:
            mark.unlink(missing_ok=True)
            for leftover in (self.directory / "work", former):
                shutil.rmtree(leftover, ignore_errors=True)
            if self.upper.exists():
                self.upper.rename(former)
            self.staged.rename(self.upper)
            for path in (self.directory / "work", self.root):
                path.mkdir(exist_ok=True)
            mark.write_text(str(lower), encoding="utf-8")
            shutil.rmtree(former, ignore_errors=True)
        except OSError as error:
            raise HypervisorError(
                f"cannot replace {error.filename}: {error.strerror}", step="overlay"
            ) from error

    def mount(self) -> None:
        """Mount the overlay in libvirtd's mount namespace; no error if it is mounted."""
        if self.is_mounted():
            return
        # Of a fork's container it is two directories: what the lab's had written, and the image.
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.directory / 'work'}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]
        _run([*in_daemon_namespace(self.uri), *command], "cannot mount the overlay")

    def unmount(self) -> None:
        """Unmount the overlay; no error if it is not mounted."""
        while self.is_mounted():
            # Lazily: the controller of a container that just ended may still hold it for a moment.
            _run(
                [*in_daemon_namespace(self.uri), "umount", "-l", str(self.root)], "cannot unmount the overlay"
            )

    def remove(self) -> None:
        """Unmount and delete everything of the container."""
        if not self.directory.exists():
            return
        self.unmount()
        try:
            # First: a partly deleted overlay must not count as complete.
            (self.directory / "complete").unlink(missing_ok=True)
            shutil.rmtree(self.directory)
        except OSError as error:
            raise HypervisorError(
                f"cannot delete {self.directory}: {error.strerror}", step="overlay"
            ) from error


def remove_cgroups(uri: str, domain: str) -> None:
    """Remove the control groups that a stopped container's init created."""
    remove_groups(uri, [f"labrun-{domain}"])


def remove_groups(uri: str, names: Iterable[str]) -> None:
    """Remove the control groups of these names, and those in them, as far as nothing runs there."""
    command = [*in_daemon_namespace(uri), "unshare", "-m", "sh", "-s", *names]
    _run(command, "cannot remove the control groups", script=hypervisor_script("remove_cgroups"))
