"""The shell text that has sshd check the drop-in before installation, then reload."""

from __future__ import annotations

from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import install, install_word

__all__ = ["apply_script", "undo_script"]


# `systemctl reload` runs `sshd -t`, which has been done already, and sends this signal; through systemd
# it costs a host as much as a login. Not every listener has a pid file that leads to it.
_RELOAD = guest_script("sshd_reload")

# An sshd that could not bind its configured port has exited, and a reload does not start it.
_REVIVE = guest_script("sshd_revive")


def apply_script(text: str, before: str | None) -> str:
    """Return what checks the drop-in along with all other files, installs it and reloads sshd."""
    return (
        assigned({"text": text, "main": MAIN, "drop_in": DROP_IN})
        + guest_script("sshd_apply")
        + _RELOAD
        + install_word(DROP_IN, '"$text"', "0600")
        + f"reload_sshd || {{ {_put_back(before)}reload_sshd; exit 1; }}\n"
    )


def undo_script() -> str:
    """Return what restores the drop-in, and starts an sshd that exited because of the new one."""
    return f"{_RELOAD}restore {DROP_IN}\n{_REVIVE}"


def _put_back(before: str | None) -> str:
    return f"rm -f {DROP_IN}\n" if before is None else install(DROP_IN, before, "0600")
