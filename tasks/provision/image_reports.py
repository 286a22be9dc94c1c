"""How the making of an image is reported to whoever watches: its steps, MB and percent."""

from __future__ import annotations

from pathlib import Path

from labrun.outcome import HYPERVISOR
from labrun.output_logs import log_path
from labrun.progress import Amount, report
from labrun.state import state_base
from labrun.tasks.provision.image_pull import Say
from labrun.tasks.provision.image_steps import BuildProgress, BuildStep
from labrun.tasks.provision.image_store import Progress

__all__ = ["build_log", "build_shown", "pull_shown", "share_shown"]


def build_shown(image: str) -> BuildProgress:
    """Return what reports the steps of a build."""

    def show(words: str, step: BuildStep) -> None:
        report(HYPERVISOR, words, ", ".join(filter(None, (image, str(step)))), amount=step.amount)

    return show


def pull_shown(image: str) -> Say:
    """Return what reports the steps of a download, and its MB."""

    def say(what: str | Amount) -> None:
        if isinstance(what, Amount):
            report(HYPERVISOR, "downloading", image, amount=what)
        else:
            report(HYPERVISOR, what, image)

    return say


def share_shown(image: str) -> Progress:
    """Return what reports the share that is done of a step."""

    def show(words: str, share: float) -> None:
        report(HYPERVISOR, words, image, amount=Amount(100 * share, 100, "%"))

    return show


def build_log(image: str, base: Path | None = None) -> Path:
    """Return where the output of the build of an image goes, below the state directory."""
    return log_path(base or state_base(), f"image-{image}")
