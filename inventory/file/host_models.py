"""The lab file's hosts: what a machine consists of, how it is reached, and what runs on it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from labrun.inventory.file.address_parsing import NONE
from labrun.inventory.file.field_types import (
    AddressText,
    FilePath,
    Line,
    NextHop,
    Port,
    PublicKey,
    SshdKeyword,
    SshdValue,
    SysctlKey,
    SysctlValue,
    Text,
)
from labrun.inventory.file.name_types import (
    HostName,
    ImageName,
    LoginName,
    MachineName,
    PackageName,
    UnitName,
    UserName,
    Word,
)
from labrun.inventory.file.network_models import FirewallModel, NatModel, NicModel, Routes
from labrun.inventory.file.problems import shown
from labrun.inventory.file.pydantic_types import Matching, Section, Shorthand, is_switch, listed, wrong

__all__ = ["FILE_ORIGINS", "SSHD_PROFILES", "FileModel", "GroupModel", "HostModel", "Settings"]

FILE_ORIGINS: Final = ("content", "src", "template")
SSHD_PROFILES: Final[tuple[Literal["host", "router", "bastion"], ...]] = ("host", "router", "bastion")


def _nic(value: Any) -> Any:
    if not isinstance(value, (str, dict)):
        raise wrong(f"expected an address, dhcp or a mapping, got {shown(value)}")
    if value == NONE:
        return {}
    if isinstance(value, str):
        return {"ipv6" if ":" in value else "ipv4": value}
    return value


def _sshd(value: Any) -> Any:
    if value is not False and not isinstance(value, dict):
        raise wrong(f"expected a mapping or false, got {shown(value)}")
    return value


def _with_profile(value: dict[str, list[str]]) -> dict[str, list[str]]:
    """Validate the values of the one key that belongs to labrun and is not an sshd keyword."""
    found = value.get("profile")
    if found is not None and (len(found) != 1 or found[0] not in SSHD_PROFILES):
        raise wrong(f"profile is one of {', '.join(SSHD_PROFILES)}")
    return value


def _disk(value: Any) -> Any:
    return {"size": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _with_candidate(value: str) -> str:
    if "%s" not in value:
        raise wrong("this command does not say where the file is", "write %s for it: visudo -cf %s")
    return value


def _service(value: Any) -> Any:
    """Expand one of systemd's words to the mapping that it stands for."""
    words = {
        "enabled": {"enabled": True},
        "disabled": {"enabled": False},
        "running": {"running": True},
        "stopped": {"running": False},
    }
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or value not in words:
        raise wrong(f"expected {', '.join(words)} or a mapping, got {shown(value)}")
    return words[value]


def _once(value: Any) -> Any:
    if isinstance(value, dict):
        seen: dict[str, str] = {}
        for key in value:
            if first := seen.get(key.lower()):
                raise wrong(f"{key} and {first} are one keyword", "a list gives it several values")
            seen[key.lower()] = key
    return value


class DiskModel(Section):
    """A further disk, GiB."""

    size: Annotated[int, Field(ge=1, le=65536)]


class FileModel(Section):
    """A file in the guest, by its path."""

    content: Text | None = None
    src: Line | None = None
    template: Line | None = None
    owner: UserName | None = None
    group: UserName | None = None
    mode: Annotated[Text, Matching("[0-7]{3,4}", "file mode", "such as 0644")] | None = None
    validate_with: Annotated[Line, AfterValidator(_with_candidate)] | None = Field(
        default=None, alias="validate"
    )
    on_change: Line | None = None
    secret: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FileModel:
        if sum(getattr(self, origin) is not None for origin in FILE_ORIGINS) != 1:
            raise wrong("a file has exactly one of content, src and template")
        return self


class ServiceModel(Section):
    """A unit of systemd: what it does at boot, and now."""

    enabled: bool | None = None
    running: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ServiceModel:
        if self.enabled is None and self.running is None:
            raise wrong("this says nothing", "enabled or running, true or false")
        return self


class AccessModel(Section):
    """``access: {via: HOST}``."""

    via: HostName


class GuardModel(Section):
    """``guard: {last_resort: reboot}``."""

    last_resort: Literal["reboot", "leave"]


class SshModel(Section):
    """How an existing machine is reached."""

    user: LoginName | None = None
    port: Port | None = None
    identity: Line | None = None
    known_hosts: Line | None = None


class Settings(Section):
    """The keys that defaults, groups and hosts have in common."""

    image: ImageName | None = None
    memory: Annotated[int, Field(ge=32, le=16_777_216)] | None = None
    vcpus: Annotated[int, Field(ge=1, le=512)] | None = None
    disk: Annotated[int, Field(ge=1, le=65_536)] | None = None
    disks: (
        list[Annotated[DiskModel, Shorthand(_disk, ({"type": "integer", "minimum": 1, "maximum": 65536},))]]
        | None
    ) = None
    firmware: Literal["bios", "uefi"] | None = None
    autostart: bool | None = None
    driver: Literal["lxc", "qemu"] | None = None
    hypervisor: Word | None = None
    user: UserName | None = None
    role: Literal["host", "router"] | None = None
    gateway: NextHop | None = None
    routes: Routes | None = None
    sysctl: dict[SysctlKey, SysctlValue] | None = None
    sshd: (
        Annotated[
            Annotated[Literal[False], Tag("(switch)")]
            | Annotated[
                dict[
                    SshdKeyword,
                    Annotated[
                        list[SshdValue],
                        Shorthand(listed, tuple({"type": t} for t in ("string", "integer", "boolean"))),
                    ],
                ],
                BeforeValidator(_once),
                AfterValidator(_with_profile),
                Tag("(mapping)"),
            ],
            Discriminator(is_switch),
            BeforeValidator(_sshd),
        ]
        | None
    ) = None
    firewall: FirewallModel | None = None
    nat: NatModel | None = None
    selinux: Literal["enforcing", "permissive", "disabled"] | None = None
    packages: list[PackageName] | None = None
    files: dict[FilePath, FileModel] | None = None
    services: (
        dict[
            UnitName,
            Annotated[
                ServiceModel,
                Shorthand(_service, ({"enum": ["enabled", "disabled", "running", "stopped"]},)),
            ],
        ]
        | None
    ) = None
    hosts_file: bool | None = None
    exclusive: bool | None = None
    access: AccessModel | None = None
    redundancy: Word | None = None
    guard: GuardModel | None = None
    ssh: SshModel | None = None


class GroupModel(Settings):
    """One entry of ``groups``."""

    hosts: list[Line]
    ssh_keys: list[PublicKey] | None = None


class HostModel(Settings):
    """One entry of ``hosts``."""

    networks: (
        dict[
            Line,
            Annotated[
                NicModel, Shorthand(_nic, ({"type": "string", "description": "an address, dhcp or none"},))
            ],
        ]
        | None
    ) = None
    hostname: MachineName | None = None
    address: AddressText | None = None
    ssh_keys: list[PublicKey] | None = None
