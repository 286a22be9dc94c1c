"""Why a host that labrun can reach refuses its login: sshd, its settings, the account, the keys, the boot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_network

from labrun.inventory.model import Address
from labrun.tasks.guest.facts.login import KeyFile, LoginState
from labrun.tasks.guest.reason import Reason
from labrun.tasks.out_of_band.attempt import Attempt

__all__ = ["boot_reasons", "key_reasons", "login_reasons", "sshd_reasons"]

_SYSTEM = {
    "maintenance": "it is in rescue mode ({init}: maintenance)",
    "stopping": "it is shutting down ({init}: stopping)",
    "offline": "{init} is not running in it",
}
_REFUSAL = re.compile(
    r"not allowed|[Rr]efused|bad ownership|Access denied|denied by|[Ff]ailed|expired|error: |fatal: |"
    r"Connection closed|no matching|Could not|MaxStartups|exceeded|locked"
)
_NOT_ABOUT_IT = re.compile(r"^Failed (?:none|password) for|^pam_env|^Received signal")
_MOST_JOBS = 3
_GROUP_WRITES = 0o022
_NO_LOGIN = ("/nologin", "/false")


def boot_reasons(login: LoginState) -> Iterator[Reason]:
    """Yield why a host as a whole accepts no login: it boots, it halts, it is full, or it is closed."""
    if login.is_booting:
        waiting = ", ".join(login.jobs[:_MOST_JOBS]) or "no unit in particular"
        tells = f", waiting for {waiting}" if login.init == "systemd" else ""
        yield Reason(f"it is still booting ({login.init}: {login.boot}{tells})", is_sure=False)
    elif login.boot in _SYSTEM:
        yield Reason(_SYSTEM[login.boot].format(init=login.init))
    elif not login.boot and login.init == "systemd":
        yield Reason("its systemd (PID 1) does not answer", is_sure=False)


def sshd_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    """Yield why nobody takes the connection."""
    listeners = login.listeners
    if listeners is None:
        return
    here = [each for each in listeners if each.port == attempt.port]
    reached = [each for each in here if each.address in (None, attempt.address) or attempt.address is None]
    elsewhere = [each for each in listeners if each.program.startswith("sshd") and each not in reached]
    if reached and login.process in ("T", "t"):
        yield Reason("sshd is stopped by a signal (process state T): `kill -CONT` its process")
    elif reached and reached[0].program not in ("", "sshd", "systemd"):
        yield Reason(f"port {attempt.port} is held by {reached[0].program}, not by sshd")
    elif not reached and elsewhere:
        ports = sorted({each.port for each in elsewhere})
        if attempt.port in ports:
            places = " ".join(sorted(str(each.address) for each in elsewhere))
            yield Reason(f"sshd listens on {places} only, not on {attempt.address}")
        else:
            yield Reason(f"sshd listens on port {' '.join(map(str, ports))}, not on {attempt.port}")
    elif not reached:
        yield Reason(f"sshd is not running{_unit_note(login)}", is_sure=not login.is_booting)


def _unit_note(login: LoginState) -> str:
    unit = login.sshd_unit
    if unit is None:
        # systemd may have been too slow to tell.
        return ": no unit starts it" if login.units else ""
    if unit.load == "masked" or unit.file == "masked":
        return f": {unit.name} is masked"
    wrong = f", since its settings are wrong: {login.complaint}" if login.complaint else ""
    disabled = ", and disabled" if unit.file == "disabled" else ""
    return f": {unit.name} is {unit.active or 'gone'}{disabled}{wrong}"


def login_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    """Yield why sshd, or what it asks, turns the login down."""
    user, account = attempt.user, login.account
    if account is None:
        if login.boot:
            yield Reason(f"there is no account {user}")
        return
    if login.nologin and user != "root":
        yield Reason(f"{login.nologin} exists: only root may log in")
    if not account.has_shell:
        yield Reason(f"the shell of {user}, {account.shell or '(none)'}, does not exist")
    elif account.shell.endswith(_NO_LOGIN):
        yield Reason(f"the shell of {user} is {account.shell}")
    if account.expires is not None and account.expires <= account.today:
        yield Reason(f"the account {user} has expired")
    yield from _settings_reasons(attempt, login)
    if login.sshd.get("pubkeyauthentication") == ("no",):
        yield Reason("sshd accepts no keys: PubkeyAuthentication is no")
    else:
        yield from _key_file_reasons(attempt, login)
    yield from _wrapper_reasons(attempt, login)


def _settings_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    asked, account = login.sshd, login.account
    groups = account.groups if account is not None else ()
    for keyword, names, allows in (
        ("denyusers", (attempt.user,), False),
        ("allowusers", (attempt.user,), True),
        ("denygroups", groups, False),
        ("allowgroups", groups, True),
    ):
        patterns = [word for value in asked.get(keyword, ()) for word in value.split()]
        if patterns and _is_named(patterns, names, attempt.client) is not allows:
            title = {"denyusers": "DenyUsers", "allowusers": "AllowUsers"}.get(keyword) or (
                "DenyGroups" if keyword == "denygroups" else "AllowGroups"
            )
            who = attempt.user if "users" in keyword else f"{attempt.user} ({' '.join(groups) or 'no group'})"
            verb = "leaves out" if allows else "names"
            client = f" from {attempt.client}" if attempt.client is not None else ""
            yield Reason(f"sshd turns {attempt.user} away: {title} {' '.join(patterns)} {verb} {who}{client}")
    methods = asked.get("authenticationmethods", ("any",))
    offered = [each.split(",") for value in methods for each in value.split()]
    if offered and all(each not in (["any"], ["publickey"]) for each in offered):
        yield Reason(f"sshd wants more than a key: AuthenticationMethods {' '.join(methods)}")
    if attempt.user == "root" and asked.get("permitrootlogin") == ("no",):
        yield Reason("sshd does not let root log in: PermitRootLogin is no")


def _is_named(patterns: Iterable[str], names: Iterable[str], client: Address | None) -> bool:
    """Tell whether sshd's list names one of these; a negated entry that does excludes it."""
    named = False
    for pattern in patterns:
        who, at, where = pattern.lstrip("!").partition("@")
        fits = any(fnmatchcase(name, who) for name in names) and (not at or _is_from(where, client))
        if fits and pattern.startswith("!"):
            return False
        named = named or fits
    return named


def _is_from(where: str, client: Address | None) -> bool:
    if client is None:
        return True
    try:
        return client in ip_network(where, strict=False)
    except ValueError:
        return fnmatchcase(str(client), where)


def _key_file_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    files = login.keys
    there = [each for each in files if each.has_key]
    if not files:
        named = " ".join(login.sshd.get("authorizedkeysfile", ()))
        yield Reason(f"sshd reads no key file of {attempt.user}: AuthorizedKeysFile {named or '(none)'}")
    elif not there:
        yield Reason(_without_key(files))
    elif login.sshd.get("strictmodes", ("yes",)) == ("yes",):
        yield from _mode_reasons(attempt, login, there)


def _without_key(files: tuple[KeyFile, ...]) -> str:
    existing = [each.path for each in files if each.is_there]
    if existing:
        return f"labrun's key is not in {existing[0]}"
    return f"{files[0].path} is gone, and labrun's key with it"


def _mode_reasons(attempt: Attempt, login: LoginState, there: list[KeyFile]) -> Iterator[Reason]:
    """Yield the files and folders around the key that others may change: sshd does not trust it then."""
    paths = {file.path for file in there}
    for mode in login.modes:
        if not any(path == mode.path or path.startswith(f"{mode.path.rstrip('/')}/") for path in paths):
            continue
        if mode.bits & _GROUP_WRITES:
            yield Reason(f"sshd does not trust {mode.path}: others may write to it (mode {mode.bits:o})")
        elif mode.owner not in (attempt.user, "root"):
            yield Reason(f"sshd does not trust {mode.path}: it is {mode.owner}'s")
        elif mode.path in paths and not mode.bits & 0o400:
            yield Reason(f"{attempt.user} cannot read {mode.path} (mode {mode.bits:o})")


def _wrapper_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    """Yield the line of hosts.deny for this client, unless a line of hosts.allow goes before."""
    denied = _wrapper_line(login.denied, attempt.client)
    if denied is not None and _wrapper_line(login.allowed, attempt.client) is None:
        yield Reason(f"/etc/hosts.deny refuses it: {denied}", is_sure=False)


def _wrapper_line(text: str, client: Address | None) -> str | None:
    for line in text[:65536].splitlines()[:1000]:
        daemons, colon, clients = line.partition("#")[0].partition(":")
        names = re.split(r"[\s,]+", daemons.strip())
        # The rest of an IPv6 address has colons as well, in brackets.
        places = re.split(r"[\s,]+", re.split(r":(?![^\[]*\])", clients)[0].strip())
        if colon and {"ALL", "sshd"} & set(names) and any(_is_place(each, client) for each in places):
            return line.strip()[:200]
    return None


def _is_place(place: str, client: Address | None) -> bool:
    text = place.strip("[]")
    if text == "ALL" or client is None:
        return text == "ALL"
    if text.endswith("."):
        return str(client).startswith(text)
    return _is_from(text, client)


def key_reasons(attempt: Attempt, login: LoginState) -> Iterator[Reason]:
    """Yield why the host key is another one."""
    if not attempt.host_keys or not login.host_keys:
        return
    if attempt.host_keys & set(login.host_keys):
        if attempt.strange_key:
            yield Reason("its own host key is the one on record: something else answers at its address")
    else:
        yield Reason("its host key was changed: none of /etc/ssh/ssh_host_*_key.pub is on record")


def refusal(login: LoginState) -> Reason | None:
    """Return the last complaint in sshd's log, for reasons that nothing else shows."""
    for line in reversed(login.refusals):
        if _REFUSAL.search(line) and not _NOT_ABOUT_IT.search(line):
            return Reason(f"sshd says: {line}", is_sure=False)
    return None
