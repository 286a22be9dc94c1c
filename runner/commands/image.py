"""`labrun image`: the images for machines, built here or brought here, and who uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import click

from labrun.errors import HypervisorError, LabrunError, UsageError
from labrun.moments import age
from labrun.notices import notice
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.commands.completions import complete_catalogue, complete_image, complete_recipe
from labrun.runner.verb import VerbGroup, verb
from labrun.runner.views.columns import listing
from labrun.tasks.provision.checksums import Digest
from labrun.tasks.provision.http_client import DownloadError, require_url
from labrun.tasks.provision.image_catalogue import ARCHITECTURES, origin_of
from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_origin import Origin
from labrun.tasks.provision.image_reports import build_log, build_shown, pull_shown, share_shown
from labrun.tasks.provision.image_store import StoredImage, image_directory, list_images

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

_PATIENCE = 5.0  # seconds

command = VerbGroup(
    "image", "List, pull, build, import, check and remove the images that machines are made from."
)


def _row(image: str, status: Status, actual: str, seconds: float) -> Outcome:
    return Outcome(HYPERVISOR, "image", image, status, expected="there", actual=actual, seconds=seconds)


@verb("list", group=command)
def list_command(invocation: Invocation) -> Report:
    """List the images, how old and large they are, and which machines use them.

    A question mark means that no hypervisor could be asked who uses the image.
    """
    from labrun.libvirt_calls import begin, silences
    from labrun.tasks.provision.image_users import find_users

    images = list_images()
    # The list itself is on this disk: nobody waits half a minute for each hypervisor that is silent.
    begin(min(invocation.timeout or _PATIENCE, _PATIENCE))
    users = find_users() if images else None
    for error in silences():
        notice(f"machines that use an image may be missing here: {error.reason} ({error.hint})")
    members: list[JsonObject] = []
    lines = []
    for image in images:
        used = None if users is None or (users.unasked and not users.of(image.name)) else users.of(image.name)
        members.append(
            {
                "name": image.name,
                "drivers": list(image.drivers),
                "disk_bytes": image.disk_bytes,
                "tree_bytes": image.tree_bytes,
                "sha256": image.sha256,
                "made": image.made,
                "source": image.source,
                "used_by": None if used is None else list(used),
                "unreadable": image.unreadable or None,
            }
        )
        lines.append(_line(image, used))
    columns = ("image", "makes", "size", "age", "used by", "sha256", "source")
    text = listing(columns, lines, color=invocation.color)
    none = "no images: labrun image build debian-12 makes one\n"
    return Report(extra={"images": members}, text=None if invocation.json else text if images else none)


def _line(image: StoredImage, used: Sequence[str] | None) -> tuple[str, ...]:
    size = image.disk_bytes + image.tree_bytes
    makes = ", ".join({"lxc": "containers", "qemu": "VMs"}[kind] for kind in image.drivers)
    source = f"unreadable: {image.unreadable}" if image.unreadable else image.source or "-"
    return (
        image.name,
        makes or "-",
        f"{size / 2**20:.0f} MiB" if size else "-",
        _age(image.made),
        "?" if used is None else ", ".join(used) or "-",
        image.sha256[:12] or "-",
        source,
    )


def _age(made: str) -> str:
    """Return the time since ``made`` (ISO 8601) in its largest unit, ``-`` if it is unknown or to come."""
    try:
        then = datetime.fromisoformat(made)
    except ValueError:
        return "-"
    seconds = int((datetime.now(UTC) - then.astimezone(UTC)).total_seconds())
    return age(seconds) if seconds >= 0 else "-"


@verb("build", group=command)
@click.argument("name", shell_complete=complete_recipe)
def build(invocation: Invocation, name: str) -> Report:
    """Build an image: the tree for containers and the disk for VMs.

    NAME is debian-12, or one of its variants such as debian-12:networkd, which makes the image
    debian-12-networkd. Does nothing if the image was already built from the same recipe.
    """
    from labrun.inventory.recipes import RECIPES
    from labrun.tasks.provision.image_build import build_image, find_image

    recipe = RECIPES.get(name)
    if recipe is None:
        raise UsageError(
            f'there is no recipe for "{name}"',
            hint=f"{', '.join(RECIPES)} can be built; `labrun image pull` and `import` bring in other images",
        )
    before = find_image(image_directory(), recipe.stored)
    log = build_log(recipe.stored, invocation.state_dir)
    with progress([HYPERVISOR], invocation):
        built = build_image(recipe, image_directory(), progress=build_shown(recipe.stored), log=log)
    is_new = built != before
    status = Status.CHANGED if is_new else Status.OK
    actual = "built" if is_new else "already built from the same recipe"
    row = _row(recipe.stored, status, actual, invocation.seconds)
    if is_new and (before is None or before.path != built.path) and log.is_file():
        row = replace(row, why=f"what the package manager printed: {log}")
    return Report(outcomes=[row])


@verb("pull", group=command)
@click.argument("what", metavar="NAME|URL", shell_complete=complete_catalogue)
@click.option("--name", help="Name for lab files; by default the catalogue's or the file's.")
@click.option("--sha256", help="The checksum the file must have; 128 digits are SHA-512.")
@click.option("--checksums", metavar="URL", help="The vendor's list of checksums, over https.")
@click.option("--signature", metavar="URL", help="The signature of that list.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the vendor's public key: the list must be signed with it.",
)
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="A folder to try first.")
@click.option("--arch", type=click.Choice(ARCHITECTURES), help="Architecture; by default this machine's.")
def pull(
    invocation: Invocation,
    what: str,
    name: str | None,
    sha256: str | None,
    checksums: str | None,
    signature: str | None,
    keys: tuple[Path, ...],
    mirrors: tuple[str, ...],
    arch: str | None,
) -> Report:
    """Download a cloud image for VMs and check it.

    NAME is from the catalogue, such as debian-13 or almalinux-9. An interrupted download is resumed. Nothing
    becomes an image until its checksum has been compared. Proxies come from the environment (https_proxy,
    no_proxy).
    """
    from labrun.tasks.provision.image_pull import pull_image

    is_url = "://" in what
    for address in filter(None, (checksums, signature, *mirrors)):
        _require_url(address)
    if is_url and (mirrors or arch):
        raise UsageError("--mirror and --arch go with a name of the catalogue")
    origin = _of_url(what) if is_url else origin_of(what, arch=arch or "", mirrors=mirrors)
    if sha256:
        try:
            origin = replace(origin, digest=Digest.of(sha256))
        except ValueError:
            raise UsageError(
                f"{sha256} is neither SHA-256 nor SHA-512", hint="64 or 128 hex digits"
            ) from None
    if checksums:
        origin = replace(origin, checksums=checksums, only=False, signature="", key="")
    if signature:
        origin = replace(origin, signature=signature)
    if keys and not (origin.checksums and origin.signature and origin.digest is None):
        raise UsageError(
            "--key goes with a list of checksums that is signed",
            hint="a name of the catalogue, or --checksums with --signature",
        )
    origin = replace(origin, keys=keys)
    image_name = name if name is not None else (origin.file.split(".")[0].lower() if is_url else what)
    with progress([HYPERVISOR], invocation):
        done = pull_image(image_name, origin, pull_shown(image_name))
    row = _row(
        image_name,
        Status.CHANGED if done.is_new else Status.OK,
        "pulled" if done.is_new else "pulled before",
        invocation.seconds,
    )
    return Report(outcomes=[replace(row, why=done.verified)])


def _of_url(url: str) -> Origin:
    _require_url(url)
    file = PurePosixPath(unquote(urlsplit(url).path)).name
    if not file:
        raise UsageError("the address has no file name at its end", hint="https://HOST/.../FILE.qcow2")
    return Origin(urls=(url,), file=file)


def _require_url(url: str) -> None:
    try:
        require_url(url, proven=True)
    except DownloadError as error:
        raise UsageError(error.reason, hint=error.hint) from None


@verb("import", group=command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name for lab files; by default the file name without its suffix.")
def import_command(invocation: Invocation, file: Path, name: str | None) -> Report:
    """Import a downloaded cloud image (qcow2) for VMs.

    The file is checked and copied; the guest needs cloud-init and a network manager.
    """
    image_name = name if name is not None else file.name.split(".")[0].lower()
    with progress([HYPERVISOR], invocation):
        image = import_image(file, image_name, progress=share_shown(image_name))
    return Report(outcomes=[_row(image.name, Status.CHANGED, f"sha256 {image.sha256}", invocation.seconds)])


@verb("check", group=command)
@click.argument("name", shell_complete=complete_image)
@click.option(
    "--firmware",
    type=click.Choice(("bios", "uefi")),
    default="bios",
    show_default=True,
    help="Boot it with this.",
)
@click.option(
    "--memory", type=click.IntRange(64, 1 << 20), default=1024, show_default=True, help="Memory in MiB."
)
def check(invocation: Invocation, name: str, firmware: Literal["bios", "uefi"], memory: int) -> Report:
    """Boot an image once in a VM, log in, and say whether labrun can work with it.

    The VM and its network are removed afterwards, whatever the result. Exit code 1 if nobody can log in,
    or if something is missing.
    """
    from labrun.runner.commands.image_check import check_image

    return check_image(invocation, name, firmware=firmware, memory=memory)


@verb("remove", group=command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_image)
def remove(invocation: Invocation, names: tuple[str, ...]) -> Report:
    """Remove images, here and on this machine's hypervisor.

    An image that a machine uses stays; the machines are named.
    """
    from labrun.tasks.provision.image_removal import remove_image
    from labrun.tasks.provision.image_users import find_users

    users = find_users()
    rows = []
    for name in dict.fromkeys(names):
        try:
            remove_image(name, users)
            rows.append(Outcome(HYPERVISOR, "image", name, Status.CHANGED, "absent", "removed"))
        except (HypervisorError, UsageError):
            raise
        except LabrunError as error:
            why = f"{error.reason} ({error.hint})" if error.hint else error.reason
            rows.append(Outcome(HYPERVISOR, "image", name, Status.FAILED, "absent", "there", why))
    return Report(outcomes=rows)


@verb("prune", group=command)
@click.option("--all", "unused", is_flag=True, help="Also remove images that no machine uses.")
def prune(invocation: Invocation, unused: bool) -> Report:
    """Remove earlier versions that nothing uses, and what was left unfinished.

    Images keep their names, and machines their files.
    """
    from labrun.tasks.provision.image_removal import prune_images, require_answer
    from labrun.tasks.provision.image_users import find_users

    users = find_users()
    require_answer(users)
    losses = [f"image {image.name}" for image in list_images() if unused and not users.of(image.name)]
    if losses:
        confirm(invocation, "Remove these?", losses)
    gone = prune_images(users, unused=unused)
    rows = [Outcome(HYPERVISOR, "image", name, Status.CHANGED, "absent", "removed") for name in gone]
    none = None if rows or invocation.json else "nothing to remove\n"
    return Report(outcomes=rows, text=none)
