"""What loads labrun's table at boot: units of systemd, or a service of OpenRC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.tasks.guest.scripts import guest_script, openrc_service, unit_file
from labrun.tasks.guest.shell import Facts, install, typed_file

__all__ = ["OPENRC", "SYSTEMD", "NftLoader", "loader_of"]

_UNIT = "/etc/systemd/system/labrun-nftables.service"
# nftables.service flushes every table when it stops, and with Debian's default file when it starts.
_BESIDE = "/etc/systemd/system/nftables.service.d/labrun.conf"
_WANTED = "/etc/systemd/system/sysinit.target.wants/labrun-nftables.service"
_SERVICE = "/etc/init.d/labrun-nftables"


@dataclass(frozen=True, slots=True)
class NftLoader:
    """The ``files`` that an init system needs, with their ``mode``; one of the ``links`` enables it.

    ``folders`` go when they are empty. ``enable`` is shell text, ``reload`` a command that follows any change
    of the files, empty if none has to. ``typed`` enables it by hand.
    """

    files: Mapping[str, str]
    mode: str
    links: tuple[str, ...]
    folders: tuple[str, ...]
    enable: str
    reload: str
    typed: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all that a change touches."""
        return (*self.files, *self.links)

    @property
    def apply(self) -> str:
        """Return the shell text that has the next boot load the table."""
        files = "".join(install(path, text, self.mode) for path, text in self.files.items())
        return files + self.enable + self.reload

    @property
    def by_hand(self) -> tuple[str, ...]:
        """Return the commands for a person to type."""
        return (*(typed_file(path, text, self.mode) for path, text in self.files.items()), *self.typed)


SYSTEMD = NftLoader(
    {_UNIT: unit_file("labrun-nftables.service"), _BESIDE: unit_file("nftables.service.d-labrun.conf")},
    "0644",
    (_WANTED,),
    (_BESIDE.rpartition("/")[0],),
    f"mkdir -p {_WANTED.rpartition('/')[0]}\nln -sf {_UNIT} {_WANTED}\n",
    "systemctl daemon-reload\n",
    ("systemctl daemon-reload", "systemctl enable labrun-nftables.service"),
)
OPENRC = NftLoader(
    {_SERVICE: openrc_service("labrun-nftables")},
    "0755",
    ("/etc/runlevels/sysinit/labrun-nftables", "/etc/runlevels/boot/labrun-nftables"),
    (),
    guest_script("nft_runlevel"),
    "",
    # Where the network starts in another runlevel, labrun takes that one.
    ("rc-update add labrun-nftables boot",),
)


def loader_of(facts: Facts) -> NftLoader:
    """Return the loader for the init system of a host, as nft_look.sh names it."""
    return OPENRC if "nft-by-openrc" in facts.words else SYSTEMD
