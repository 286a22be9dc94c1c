"""The lab file's shape as typed models: every key that may be written, and nothing else.

A model holds the values of one place in the file, None for a key that is absent. Merging, defaults and
everything that needs a second place (references, subnets, addresses) come later. The models of hosts,
networks and checks are in the modules named after them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labrun.inventory.file.check_models import CheckModel
from labrun.inventory.file.field_types import (
    Address,
    Duration,
    Line,
    MemberUri,
    PublicKey,
    Text,
    Uri,
)
from labrun.inventory.file.host_models import GroupModel, GuardModel, HostModel, Settings
from labrun.inventory.file.name_types import (
    GroupName,
    HostName,
    ImageName,
    LabName,
    NetworkName,
    Word,
)
from labrun.inventory.file.network_models import FilterRuleModel, LeftRoutesModel, NetworkModel
from labrun.inventory.file.pydantic_types import Matching, Section, Shorthand, wrong
from labrun.inventory.file.required_version import RequiredVersions
from labrun.inventory.recipes import RecipeName

__all__ = ["ImageModel", "LabFile"]


class ImageModel(Section):
    """One entry of ``images``."""

    url: (
        Annotated[Line, Matching(r"https?://[^\s/]\S*", "URL", "http or https; a file has a path")] | None
    ) = None
    sha256: Annotated[Text, Matching("[0-9a-fA-F]{64}", "SHA-256 digest", "64 hex digits")] | None = None
    path: Line | None = None
    build: RecipeName | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ImageModel:
        if sum(part is not None for part in (self.url, self.path, self.build)) != 1:
            raise wrong("an image has exactly one of url, path and build")
        if self.url is not None and self.sha256 is None:
            raise wrong("an image from a url needs its sha256")
        if self.url is None and self.sha256 is not None:
            raise wrong("sha256 goes with a url")
        return self


class ScheduleModel(Section):
    """``schedule: {every: 15m}``."""

    every: Duration


def _location(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


class HypervisorEntry(Section):
    """``hypervisors: {b: {uri: "qemu+ssh://lab@b/system", tunnel: 10.0.0.2, weight: 2}}``."""

    uri: MemberUri
    tunnel: Address | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None


class LabFile(Section):
    """The whole lab file."""

    name: LabName
    requires_labrun: RequiredVersions | None = None
    hypervisor: Uri = "auto"
    hypervisors: dict[
        Word,
        Annotated[
            HypervisorEntry, Shorthand(_location, ({"type": "string", "description": "a libvirt URI"},))
        ],
    ] = Field(default_factory=dict)
    defaults: Settings = Settings()
    networks: dict[NetworkName, NetworkModel] = Field(default_factory=dict)
    hosts: dict[HostName, HostModel]
    groups: dict[GroupName, GroupModel] = Field(default_factory=dict)
    filters: dict[Word, list[FilterRuleModel]] = Field(default_factory=dict)
    images: dict[ImageName, ImageModel] = Field(default_factory=dict)
    checks: list[CheckModel] = Field(default_factory=list)
    schedule: ScheduleModel | None = None
    routing: Literal["auto", "manual"] = "auto"
    guard: GuardModel | None = None
    routes: LeftRoutesModel | None = None
    ssh_keys: list[PublicKey] = Field(default_factory=list)
