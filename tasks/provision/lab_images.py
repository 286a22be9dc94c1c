"""Images that a lab file declares: their names in the store, and bringing them there.

They are stored as LAB.NAME, so that no lab file replaces an image of another lab or of the catalogue.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from labrun.errors import LabrunError
from labrun.hypervisor import own_network
from labrun.inventory.model import Image, Lab
from labrun.inventory.recipes import RECIPES
from labrun.tasks.provision.checksums import Digest
from labrun.tasks.provision.image_format import judge_image
from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_origin import Origin
from labrun.tasks.provision.image_reports import build_log, build_shown, pull_shown, share_shown
from labrun.tasks.provision.image_store import has_digest, has_file, image_directory, image_paths

__all__ = ["bring_declared", "declared_image", "is_current", "stored_name", "why_not", "would_be"]


def declared_image(lab: Lab, name: str) -> Image | None:
    """Return the lab file's own image of that name, None if machines get it from the store."""
    return lab.images.get(name)


def stored_name(lab: Lab, name: str) -> str:
    """Return the name in the store of the image that a host of the lab names."""
    image = lab.images.get(name)
    if image is None:
        return name
    return RECIPES[image.build].stored if image.build else f"{lab.name}.{name}"


def is_current(image: Image, stored: str) -> bool:
    """Tell whether the store has what the file declares, so that nothing has to be brought."""
    paths = image_paths(stored)
    if image.sha256 is not None:
        return has_digest(paths, "sha256", image.sha256)
    if image.path is not None:
        return has_file(paths, Path(image.path))
    return paths.rootfs.is_dir() and paths.disk.is_file()


def would_be(image: Image) -> str:
    """Return what `up` would do to bring an image, in words."""
    if image.url is not None:
        return "would be downloaded"
    return "would be built" if image.build is not None else "would be imported"


def why_not(image: Image, driver: str) -> str:
    """Return why `up` could not bring an image that is not there, empty if nothing is known against it.

    Nothing is downloaded for that.
    """
    if image.build is not None:
        return ""
    if driver == "lxc":
        return "it is for VMs (containers are made from debian-12, which `labrun image build` makes)"
    if image.path is None:
        return ""
    path = Path(image.path)
    if not path.is_file():
        return f"there is no file {path}"
    try:
        judge_image(path)
    except LabrunError as error:
        return f"{error.reason} ({error.hint})" if error.hint else error.reason
    return ""


def bring_declared(image: Image, stored: str) -> str:
    """Bring a declared image into the store; return what was done, empty if it was there.

    Raises LabrunError.
    """
    if is_current(image, stored):
        return ""

    with own_network():
        return _brought(image, stored)


def _brought(image: Image, stored: str) -> str:
    if image.build is not None:
        from labrun.tasks.provision.image_build import build_image

        recipe, log = RECIPES[image.build], build_log(stored)
        build_image(recipe, image_directory(), progress=build_shown(stored), log=log)
        return "built"
    if image.path is not None:
        import_image(Path(image.path), stored, progress=share_shown(stored))
        return "imported"
    from labrun.tasks.provision.image_pull import pull_image

    url = image.url or ""
    digest = Digest.of(image.sha256) if image.sha256 else None
    pull_image(
        stored, Origin((url,), PurePosixPath(unquote(urlsplit(url).path)).name, digest), pull_shown(stored)
    )
    return "downloaded"
