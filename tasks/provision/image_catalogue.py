"""The vendors' cloud images by name: where they are, what proves them, and what is in them.

Written from public sources; none of them was downloaded in labrun's own tests. Names with `latest` or
`release` in their address follow the vendor's newest build, so the checksum is always read anew from the
vendor's own list.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from labrun.errors import UsageError
from labrun.inventory.recipes import STORED_RECIPES
from labrun.tasks.provision.image_origin import Origin

__all__ = ["ARCHITECTURES", "CATALOGUE", "CloudImage", "origin_of", "source_of_image"]

ARCHITECTURES: Final = ("x86_64", "aarch64")
_ALIASES: Final = MappingProxyType({"amd64": "x86_64", "arm64": "aarch64"})


_BOTH: Final = MappingProxyType({"x86_64": ("bios", "uefi"), "aarch64": ("uefi",)})


@dataclass(frozen=True, slots=True)
class CloudImage:
    """One image of a vendor, in both architectures.

    ``files`` are file names by architecture, below ``folder``, in which ``{arch}`` is the vendor's word for
    it. ``checksums`` is the list's name in that folder, ``{file}`` being the image's; ``signature`` is the
    name of the signature over it, empty if the vendor does not sign; ``key`` is the fingerprint of the key.
    ``user`` is the vendor's default user: labrun makes its own. ``family`` as in ``os-release``'s ID_LIKE,
    ``network`` is what configures NICs, ``firmware`` what each architecture boots with.
    """

    folder: str
    files: Mapping[str, str]
    checksums: str
    user: str
    family: str
    network: str
    signature: str = ""
    key: str = ""
    firmware: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _BOTH)


def _files(pattern: str, x86: str = "x86_64", arm: str = "aarch64") -> Mapping[str, str]:
    words = {"x86_64": x86, "aarch64": arm}
    return MappingProxyType({arch: pattern.replace("{arch}", word) for arch, word in words.items()})


def _debian(release: str, name: str) -> CloudImage:
    return CloudImage(
        f"https://cloud.debian.org/images/cloud/{name}/latest/",
        _files(f"debian-{release}-genericcloud-{{arch}}.qcow2", "amd64", "arm64"),
        "SHA512SUMS",
        user="debian",
        family="debian",
        network="systemd-networkd",
    )


def _ubuntu(release: str, name: str) -> CloudImage:
    return CloudImage(
        f"https://cloud-images.ubuntu.com/releases/{name}/release/",
        _files(f"ubuntu-{release}-server-cloudimg-{{arch}}.img", "amd64", "arm64"),
        "SHA256SUMS",
        user="ubuntu",
        family="debian",
        network="systemd-networkd",
        signature="SHA256SUMS.gpg",
        key="D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81",
    )


def _almalinux(release: str, key: str) -> CloudImage:
    return CloudImage(
        f"https://repo.almalinux.org/almalinux/{release}/cloud/{{arch}}/images/",
        _files(f"AlmaLinux-{release}-GenericCloud-latest.{{arch}}.qcow2"),
        "CHECKSUM",
        user="almalinux",
        family="rhel",
        network="NetworkManager",
        signature="CHECKSUM.asc",
        key=key,
    )


def _rocky(release: str) -> CloudImage:
    return CloudImage(
        f"https://dl.rockylinux.org/pub/rocky/{release}/images/{{arch}}/",
        _files(f"Rocky-{release}-GenericCloud-Base.latest.{{arch}}.qcow2"),
        "{file}.CHECKSUM",
        user="rocky",
        family="rhel",
        network="NetworkManager",
    )


def _centos(release: str) -> CloudImage:
    return CloudImage(
        f"https://cloud.centos.org/centos/{release}-stream/{{arch}}/images/",
        _files(f"CentOS-Stream-GenericCloud-{release}-latest.{{arch}}.qcow2"),
        "{file}.SHA256SUM",
        user="cloud-user",
        family="rhel",
        network="NetworkManager",
    )


_FEDORA = CloudImage(
    "https://download.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/{arch}/images/",
    _files("Fedora-Cloud-Base-Generic-44-1.7.{arch}.qcow2"),
    "Fedora-Cloud-44-1.7-{arch}-CHECKSUM",
    user="fedora",
    family="fedora",
    network="NetworkManager",
    # The list carries its signature in itself.
    signature="Fedora-Cloud-44-1.7-{arch}-CHECKSUM",
    key="36F612DCF27F7D1A48A835E4DBFCF71C6D9F90A6",
)
_LEAP = CloudImage(
    "https://download.opensuse.org/distribution/leap/16.0/appliances/",
    _files("Leap-16.0-Minimal-VM.{arch}-Cloud.qcow2"),
    "{file}.sha256",
    user="opensuse",
    family="suse",
    network="NetworkManager",
    signature="{file}.sha256.asc",
)
_ALPINE = CloudImage(
    "https://dl-cdn.alpinelinux.org/alpine/v3.23/releases/cloud/",
    _files("nocloud_alpine-3.23.4-{arch}-cloudinit-r0.qcow2", "x86_64-bios", "aarch64-uefi"),
    "{file}.sha512",
    user="alpine",
    family="alpine",
    network="ifupdown",
    signature="{file}.asc",
    firmware=MappingProxyType({"x86_64": ("bios",), "aarch64": ("uefi",)}),
)

CATALOGUE: Final[Mapping[str, CloudImage]] = MappingProxyType(
    {
        "debian-12": _debian("12", "bookworm"),
        "debian-13": _debian("13", "trixie"),
        "almalinux-9": _almalinux("9", "BF18AC2876178908D6E71267D36CB86CB86B3716"),
        "almalinux-10": _almalinux("10", "EE6DB7B98F5BF5EDD9DA0DE5DEE5C11CC2A1E572"),
        "rocky-9": _rocky("9"),
        "rocky-10": _rocky("10"),
        "centos-stream-9": _centos("9"),
        "centos-stream-10": _centos("10"),
        "fedora-44": _FEDORA,
        "fedora": _FEDORA,
        "ubuntu-24.04": _ubuntu("24.04", "noble"),
        "ubuntu-26.04": _ubuntu("26.04", "resolute"),
        "opensuse-leap-16.0": _LEAP,
        "opensuse-leap": _LEAP,
        "alpine-3.23": _ALPINE,
        "alpine": _ALPINE,
    }
)
"""All of them; a name without a release is the newest one known here."""


def origin_of(name: str, *, arch: str = "", mirrors: Sequence[str] = ()) -> Origin:
    """Return where an image of the catalogue comes from, ``mirrors`` (folders) before the vendor.

    ``arch`` empty = this machine's. Raises UsageError for a name or an architecture that is not in it.
    """
    image = CATALOGUE.get(name)
    if image is None:
        raise UsageError(
            f'there is no image "{name}" in the catalogue', hint=f"there are {', '.join(CATALOGUE)}"
        )
    arch = arch or platform.machine()
    arch = _ALIASES.get(arch, arch)
    if arch not in image.files:
        raise UsageError(f"{name} is there for {' and '.join(image.files)}, not for {arch}")
    file = image.files[arch]

    def placed(text: str) -> str:
        return text.replace("{arch}", arch).replace("{file}", file)

    folder = placed(image.folder)
    return Origin(
        urls=tuple(f"{each.rstrip('/')}/{file}" for each in (*mirrors, folder)),
        file=file,
        checksums=folder + placed(image.checksums),
        only="{file}" in image.checksums,
        signature=folder + placed(image.signature) if image.signature else "",
        key=image.key,
    )


def source_of_image(name: str, driver: str) -> str:
    """Return the command that makes the image, or that brings it here, for ``lxc`` or ``qemu``."""
    if name in STORED_RECIPES:
        return f"labrun image build {STORED_RECIPES[name].name}"
    if driver != "qemu":
        return "containers are made from debian-12, which `labrun image build` makes"
    if name in CATALOGUE:
        return f"labrun image pull {name}"
    return f"labrun image import FILE --name {name}"
