"""The colours of drawings, light and dark, the same in all formats; never the only sign of a state."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.drawing.diagram import Health

__all__ = ["DARK", "LEGEND", "LIGHT", "Palette", "Shade"]


@dataclass(frozen=True, slots=True)
class Shade:
    """The colours of a host in one state; ``line`` also for its links."""

    fill: str
    line: str


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours for one background. The contrast of ``ink`` and ``faint`` to every fill is above 4.5."""

    paper: str
    ink: str
    faint: str
    network: str
    shades: dict[Health, Shade]


LIGHT = Palette(
    paper="#ffffff",
    ink="#1c2128",
    faint="#57606a",
    network="#4a5a6e",
    shades={
        Health.UNKNOWN: Shade("#f3f4f6", "#7d8590"),
        Health.OK: Shade("#e3f6e8", "#1a7f37"),
        Health.IMPAIRED: Shade("#fff4d0", "#9a6700"),
        Health.UNREACHABLE: Shade("#f3e8ff", "#8250df"),
        Health.FAILED: Shade("#ffe5e3", "#cf222e"),
    },
)
DARK = Palette(
    paper="#0f141a",
    ink="#e6edf3",
    faint="#a3adb8",
    network="#8296ad",
    shades={
        Health.UNKNOWN: Shade("#1d242c", "#768390"),
        Health.OK: Shade("#10301b", "#3fb950"),
        Health.IMPAIRED: Shade("#3a2c06", "#d8a321"),
        Health.UNREACHABLE: Shade("#2d1f4a", "#b083f0"),
        Health.FAILED: Shade("#4a1518", "#ff7b72"),
    },
)

LEGEND = {
    Health.OK: "ok",
    Health.IMPAIRED: "impaired: warns, or a path fails because of another host",
    Health.UNREACHABLE: "unreachable: state unknown",
    Health.FAILED: "failed",
    Health.UNKNOWN: "not verified",
}
