"""sshd's effective settings: ``sshd -T``, and when two spellings of a value are equal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from labrun.bounded import SETTINGS_LINES, integer, require_lines
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Facts, Probe, quote

__all__ = [
    "DROP_IN",
    "MAIN",
    "asked",
    "configuration",
    "effective_settings",
    "is_as_strict",
    "is_plain",
    "meets",
    "plain_value",
    "probe",
]

# sshd takes the first value it reads; this name sorts before cloud-init's 50-cloud-init.conf.
DROP_IN = "/etc/ssh/sshd_config.d/00-labrun.conf"
MAIN = "/etc/ssh/sshd_config"
_SOCKET = "systemctl --quiet is-active ssh.socket sshd.socket 2>/dev/null && frame sshd-socket\n"
# A listener started with other options or another file follows those; its process title has its arguments.
# Whether root may log in can depend on a Match block for root, which the login user never matches.
# sudo clears the environment; that of the login survives in the parent process. `read` drops
# the NULs, so the port is cut where its digits end.
_MOST_BLOCKS = 16
"""How many Match blocks sshd is asked about; of more, what stands in them counts."""
_CANONICAL = "printf %s {text} | capture canonical judge -f /dev/stdin\n"

_WORDS = frozenset(
    {
        "allowagentforwarding",
        "allowstreamlocalforwarding",
        "allowtcpforwarding",
        "gatewayports",
        "hostbasedauthentication",
        "kbdinteractiveauthentication",
        "kerberosauthentication",
        "passwordauthentication",
        "permitemptypasswords",
        "permitrootlogin",
        "permittty",
        "permituserenvironment",
        "pubkeyauthentication",
        "strictmodes",
        "x11forwarding",
    }
)
_NUMBERS = frozenset({"clientalivecountmax", "maxauthtries", "maxsessions"})
_TIMES = frozenset({"clientaliveinterval", "logingracetime"})
_ALIASES = {"without-password": "prohibit-password", "true": "yes", "false": "no"}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"([0-9]{1,12})([smhdw]?)", re.IGNORECASE)
# From what lets in least to what lets in most; of all other words, `no` lets in least.
_RANKS = {
    "permitrootlogin": {"no": 0, "forced-commands-only": 1, "prohibit-password": 2, "yes": 3},
    "allowtcpforwarding": {"no": 0, "local": 1, "remote": 1, "yes": 2, "all": 2},
    "allowstreamlocalforwarding": {"no": 0, "local": 1, "remote": 1, "yes": 2, "all": 2},
    "gatewayports": {"no": 0, "clientspecified": 1, "yes": 1},
}
_CLOSED_BY_NO = _WORDS - _RANKS.keys() - {"pubkeyauthentication", "strictmodes"}
_LIMITS = frozenset({"maxauthtries", "maxsessions"})
# Every file adds to these lists; the entries of Debian's file weaken nothing.
_GROWING = frozenset({"acceptenv"})


def configuration(facts: Facts) -> dict[str, str]:
    """Return the files that sshd reads by path: the main file, its drop-ins, and what they include."""
    files = {
        path: text for path, text in facts.files.items() if path == MAIN or path.startswith(f"{MAIN}.d/")
    }
    others = {
        name.removeprefix("sshd-file "): output.text
        for name, output in facts.commands.items()
        if name.startswith("sshd-file ")
    }
    return {**files, **others}


def is_plain(key: str) -> bool:
    """Tell whether labrun can compare this keyword without asking sshd for its spelling of the value."""
    return key in _WORDS or key in _NUMBERS or key in _TIMES


def _seconds(text: str) -> str:
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return text
    return str(sum(int(number) * _UNITS[unit.lower()] for number, unit in parts))


def plain_value(key: str, value: str) -> str:
    """Return the value of a plain keyword as ``sshd -T`` writes it, aliases folded."""
    value = value.strip().strip('"')
    if key in _TIMES:
        return _seconds(value)
    if key in _NUMBERS and (number := integer(value)) is not None:
        return str(number)
    if key in _WORDS:
        value = value.lower()
        return _ALIASES.get(value, value)
    return value


def effective_settings(text: str) -> dict[str, tuple[str, ...]]:
    """Return the output of ``sshd -T``: the values of each keyword, repeated ones in order."""
    require_lines(text, "sshd -T", SETTINGS_LINES)
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key:
            settings.setdefault(key.lower(), []).append(plain_value(key.lower(), value))
    # A list that grows has an entry once for each file that names it.
    return {
        key: tuple(dict.fromkeys(values)) if key in _GROWING else tuple(values)
        for key, values in settings.items()
    }


def meets(key: str, want: Sequence[str], effective: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether the effective settings hold these values for ``key``."""
    have = effective.get(key, ())
    if key in _GROWING:
        return set(want) <= set(have)
    return sorted(want) == sorted(have)


def is_as_strict(key: str, want: str, have: str) -> bool:
    """Tell whether ``have`` allows nothing that ``want`` forbids; both as :func:`plain_value` returns them.

    Of keywords whose values have no such order, only the same value is.
    """
    if want == have:
        return True
    if key in _RANKS:
        ranks = _RANKS[key]
        return want in ranks and have in ranks and ranks[have] < ranks[want]
    if key in _LIMITS:
        most, actual = integer(want), integer(have)
        return most is not None and actual is not None and 0 < actual < most
    return key in _CLOSED_BY_NO and have == "no"


def asked(user: str) -> Probe:
    """Find sshd's files and ask it about this user's login, for the facts that follow from both."""
    scripts = map(guest_script, ("sshd_login", "sshd_files", "sshd_asked"))
    return Probe(script=assigned({"login": user, "main": MAIN}) + "".join(scripts))


def probe(user: str, *, unclear: str | None, socket: bool) -> Probe:
    """Read sshd's files, and ask it for the effective settings of this user's login.

    Where the files have Match blocks, sshd is also asked about root, and about one user that each block
    matches.

    ``unclear`` is a drop-in that sshd should normalise; with ``socket`` the probe also asks whether systemd
    listens in sshd's place.
    """
    values: dict[str, str | int | bool] = {
        "login": user,
        "drop_in": DROP_IN,
        "most": _MOST_BLOCKS,
    }
    script = assigned(values) + guest_script("sshd_judge")
    if unclear is not None:
        script += _CANONICAL.format(text=quote(unclear))
    patterns = (MAIN, f"{MAIN}.d/*.conf")
    return Probe(patterns, script + _SOCKET if socket else script, after=(asked(user),))
