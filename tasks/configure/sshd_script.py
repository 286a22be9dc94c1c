"""The shell text that has sshd check the drop-in before it counts, and has it read it."""

from __future__ import annotations

from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import install, install_word

__all__ = ["apply_script", "undo_script"]


# What `systemctl reload` has sshd told is this signal, after `sshd -t`, which has been asked already; through
# systemd it costs a host as much as a login. Not every listener has a pid file that leads to it.
_RELOAD = guest_script("sshd_reload")

# An sshd that could not listen where it was told to has ended, and reloading does not start it.
_REVIVE = guest_script("sshd_revive")


def apply_script(text: str, before: str | None) -> str:
    """Return what checks the drop-in beside all other files, puts it in place and has sshd read it."""
    return (
        assigned({"text": text, "main": MAIN, "drop_in": DROP_IN})
        + guest_script("sshd_apply")
        + _RELOAD
        + install_word(DROP_IN, '"$text"', "0600")
        + f"reload_sshd || {{ {_put_back(before)}reload_sshd; exit 1; }}\n"
    )


def undo_script() -> str:
    """Return what puts the drop-in back as it was, and an sshd on its feet that ended over the new one."""
    return f"{_RELOAD}restore {DROP_IN}\n{_REVIVE}"


def _put_back(before: str | None) -> str:
    return f"rm -f {DROP_IN}\n" if before is None else install(DROP_IN, before, "0600")
