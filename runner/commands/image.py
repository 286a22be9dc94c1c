"""`labrun image`: the images for machines, built here or imported."""

from __future__ import annotations

from pathlib import Path

import click

from labrun.errors import UsageError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.progress import report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.verb import VerbGroup, verb
from labrun.runner.views.columns import listing
from labrun.tasks.provision.image_store import StoredImage, image_directory, import_image, list_images

command = VerbGroup("image", "List, build and import the images that machines are made from.")


def _report_share(stage: str, share: float) -> None:
    report(HYPERVISOR, stage, f"{share:.0%}")


def _row(image: str, status: Status, actual: str, seconds: float) -> Outcome:
    return Outcome(HYPERVISOR, "image", image, status, expected="there", actual=actual, seconds=seconds)


@verb("list", group=command)
def list_command(invocation: Invocation) -> Report:
    """List the images and which kinds of machine can be created from them."""
    images = list_images()
    members = [
        {
            "name": image.name,
            "drivers": list(image.drivers),
            "disk_bytes": image.disk_bytes,
            "sha256": image.sha256,
            "made": image.made,
            "source": image.source,
            "unreadable": image.unreadable or None,
        }
        for image in images
    ]
    columns = ("image", "makes", "disk", "made", "sha256", "source")
    text = listing(columns, [_line(image) for image in images], color=invocation.color)
    none = "no images: labrun image build debian-12 makes one\n"
    return Report(extra={"images": members}, text=None if invocation.json else text if images else none)


def _line(image: StoredImage) -> tuple[str, ...]:
    size = f"{image.disk_bytes / 2**20:.0f} MiB" if image.disk_bytes else "-"
    makes = ", ".join({"lxc": "containers", "qemu": "VMs"}[kind] for kind in image.drivers)
    source = f"unreadable: {image.unreadable}" if image.unreadable else image.source or "-"
    return (image.name, makes or "-", size, image.made or "-", image.sha256[:12] or "-", source)


@verb("build", group=command)
@click.argument("name")
def build(invocation: Invocation, name: str) -> Report:
    """Build an image: the tree for containers and the disk for VMs.

    NAME is debian-12. Does nothing if the image was already built from the same recipe.
    """
    from labrun.tasks.provision.image_build import build_debian_12, find_image

    if name != "debian-12":
        raise UsageError(
            f'there is no recipe for "{name}"',
            hint="debian-12 can be built; labrun image import FILE imports a downloaded cloud image",
        )
    before = find_image(image_directory(), name)
    with progress([HYPERVISOR], invocation):
        built = build_debian_12(image_directory(), progress=_report_share)
    is_new = built != before
    status = Status.CHANGED if is_new else Status.OK
    actual = "built" if is_new else "already built from the same recipe"
    return Report(outcomes=[_row(name, status, actual, invocation.seconds)])


@verb("import", group=command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name for lab files; by default the file name without its suffix.")
def import_command(invocation: Invocation, file: Path, name: str | None) -> Report:
    """Import a downloaded cloud image (qcow2) for VMs.

    The file is checked and copied; the guest needs cloud-init and NetworkManager.
    """
    image_name = name or file.name.split(".")[0].lower()
    with progress([HYPERVISOR], invocation):
        image = import_image(file, image_name, progress=_report_share)
    return Report(outcomes=[_row(image.name, Status.CHANGED, f"sha256 {image.sha256}", invocation.seconds)])
