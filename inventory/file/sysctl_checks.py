"""Check that a host's kernel parameters do not contradict each other, its role or its hostname."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.kernel_values import EITHER_OR, KernelValue, path_of, role_values, same_value
from labrun.inventory.model import Host, Role

__all__ = ["check_sysctl"]


@dataclass(frozen=True, slots=True)
class _Line:
    """One key of the file, the value that it sets, and its place."""

    key: str
    text: str
    value: KernelValue
    place: Path


def check_sysctl(hosts: Mapping[str, Host], merged: Mapping[str, Merged], report: Report) -> None:
    """Report every kernel value that a host's keys set twice, differently, and so never get."""
    for name, host in hosts.items():
        lines = [
            _Line(key, text, value, merged[name].place(report, "sysctl", key))
            for key, text in host.sysctl.items()
            if (value := same_value(key)) is not None
        ]
        _against_each_other(lines, report)
        _either_or(lines, report)
        _against_role(host, lines, report)
        _against_hostname(host, lines, report)


def _against_each_other(lines: list[_Line], report: Report) -> None:
    first: dict[str, _Line] = {}
    for line in lines:
        other = first.setdefault(line.value.path, line)
        if line.value.of(line.text) != other.value.of(other.text):
            early, late = sorted((other, line), key=lambda each: report.line_of(each.place))
            _contradiction(late, "is the same kernel value as", early, "set it once", report)


def _either_or(lines: list[_Line], report: Report) -> None:
    at = {line.value.path: line for line in lines if line.text.strip() != "0"}
    for one, other in EITHER_OR.items():
        if one in at and other in at:
            _contradiction(at[one], "is set to 0 by", at[other], "set one of them", report)


def _contradiction(line: _Line, how: str, other: _Line, hint: str, report: Report) -> None:
    where = report.line_of(other.place)
    report.add(line.place, f"this {how} {other.key}, which line {where} sets to {other.text}", hint)


def _against_role(host: Host, lines: list[_Line], report: Report) -> None:
    is_router = host.role is Role.ROUTER
    whose = (f"role {host.role}", "the role's value") if is_router else ("labrun", "labrun's value")
    written = {path_of(line.key) for line in lines if "." in line.key.partition("/")[0]}
    for key, text in role_values(host).items():
        value = same_value(key)
        if value is None or path_of(key) in written:
            continue  # the file's value replaces the role's
        for line in lines:
            if line.value.path == value.path and line.value.of(line.text) != value.of(text):
                report.add(
                    line.place,
                    f"this is the same kernel value as {key}, which {whose[0]} sets to {text}",
                    f"{key}: {line.text} replaces {whose[1]}",
                )


def _against_hostname(host: Host, lines: list[_Line], report: Report) -> None:
    for line in lines:
        if line.value.path == "kernel/hostname" and host.hostname not in (None, line.text.strip()):
            report.add(line.place, f"hostname sets this to {host.hostname}", "set it once")
