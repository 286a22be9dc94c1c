"""Check that a host's sshd settings still let labrun log in, as far as the file alone tells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Report
from labrun.inventory.model import Address, Host, Lab
from labrun.inventory.sshd_ports import listening_ports, listens_at, login_port, ports_in
from labrun.inventory.topology.jump_hosts import entrance

__all__ = ["check_sshd"]

_SPELLED: Final = {
    "addressfamily": "AddressFamily",
    "allowgroups": "AllowGroups",
    "allowusers": "AllowUsers",
    "authenticationmethods": "AuthenticationMethods",
    "authorizedkeysfile": "AuthorizedKeysFile",
    "denygroups": "DenyGroups",
    "denyusers": "DenyUsers",
    "forcecommand": "ForceCommand",
    "listenaddress": "ListenAddress",
    "permitrootlogin": "PermitRootLogin",
    "pubkeyauthentication": "PubkeyAuthentication",
}
_FAMILIES: Final = {"inet": 4, "inet6": 6}
# Some distributions put new accounts into this group rather than into one of their own.
_COMMON_GROUP: Final = "users"


def check_sshd(lab: Lab, merged: Mapping[str, Merged], report: Report) -> None:
    """Report each sshd setting that would lock labrun out.

    An existing machine may be reached through the address and port of something in front of it, and by an
    account that the file does not name; then only the rest is checked.
    """
    for name, host in lab.hosts.items():
        if host.sshd:
            _Settings(host, host.sshd, merged[name], report).check(_address(lab, host))


def _address(lab: Lab, host: Host) -> Address | None:
    """Return the address that labrun logs in at, None if the file does not know it."""
    if host.machine is None:
        return None
    way = entrance(lab, host)
    nic = host.nic(way.nic) if way.nic is not None else None
    if nic is None:
        return None
    given = nic.ipv4 if 4 in way.versions else nic.ipv6
    return given.ip if given is not None else None


@dataclass(frozen=True, slots=True)
class _Settings:
    host: Host
    sshd: Mapping[str, Sequence[str]]
    merged: Merged
    report: Report

    @property
    def login(self) -> str | None:
        """Return the account that labrun logs in with, None if it is that of whoever runs labrun."""
        return self.host.user if self.host.machine is not None else self.host.ssh.user

    def check(self, address: Address | None) -> None:
        if self.host.machine is not None:
            self._listening(address)
            self._family(address)
        if self.login is not None:
            self._users(self.login)
            self._groups(self.login)
        if self.login == "root" and self._first("permitrootlogin") in ("no", "forced-commands-only"):
            self._refuse(
                "permitrootlogin", "labrun logs in as root here", "prohibit-password still allows keys"
            )
        self._methods()

    def _words(self, key: str) -> list[str]:
        return [word.strip('"') for value in self.sshd.get(key, ()) for word in value.split()]

    def _first(self, key: str) -> str:
        return next((word.lower() for word in self._words(key)), "")

    def _refuse(self, key: str, what: str, hint: str) -> None:
        place = self.merged.place(self.report, "sshd", key)
        self.report.add((*place[:-1], _SPELLED[key]), what, hint, line=self.report.line_of(place))

    def _listening(self, address: Address | None) -> None:
        port = login_port(self.sshd, self.host.ssh.port)
        if port not in listening_ports(self.sshd):
            place = self.merged.place(self.report, "ssh", "port")
            listens = ", ".join(map(str, dict.fromkeys(listening_ports(self.sshd))))
            what = f"labrun would log in at port {port}, and sshd listens at {listens}"
            self.report.add(place, what, f"give sshd Port {port} too")
            return
        entries = [value.split()[0] for value in self.sshd.get("listenaddress", ()) if value.split()]
        if not entries or address is None:
            return
        if not any(_listens(entry, ports_in(self.sshd), port, address) for entry in entries):
            what = f"labrun logs in at {address} port {port}, and sshd would not listen there"
            self._refuse("listenaddress", what, f"add {address}")

    def _family(self, address: Address | None) -> None:
        version = _FAMILIES.get(self._first("addressfamily"))
        if address is not None and version not in (None, address.version):
            self._refuse("addressfamily", f"labrun logs in at {address}", "any allows both families")

    def _users(self, login: str) -> None:
        denied = next((word for word in self._words("denyusers") if _is_denied(login, word)), None)
        if denied is not None:
            self._refuse("denyusers", f"labrun logs in as {login}, which {denied} keeps out", "leave it out")
        allowed = self._words("allowusers")
        if allowed and not any(_is_named(login, word) for word in allowed):
            hint = f"AllowUsers: [{', '.join((login, *allowed))}] lets it in"
            self._refuse("allowusers", f"labrun logs in as {login}, which is not among them", hint)

    def _groups(self, login: str) -> None:
        if self.host.machine is None and login != "root":
            return
        denied = next((word for word in self._words("denygroups") if _fits(login, word)), None)
        if denied is not None:
            what = f"labrun logs in as {login}, whose group {denied} keeps out"
            self._refuse("denygroups", what, "leave it out")
        allowed = self._words("allowgroups")
        if allowed and not any(_fits(group, word) for word in allowed for group in (login, _COMMON_GROUP)):
            hint = f"AllowGroups: [{', '.join((login, *allowed))}] lets it in"
            self._refuse("allowgroups", f"labrun logs in as {login}, whose group is not among them", hint)

    def _methods(self) -> None:
        if self._first("pubkeyauthentication") == "no":
            self._refuse("pubkeyauthentication", "labrun logs in with a key", "leave it out")
        methods = [word.lower() for word in self._words("authenticationmethods")]
        if methods and not any(_is_key_alone(word) for word in methods):
            what = "labrun logs in with nothing but a key"
            self._refuse("authenticationmethods", what, "publickey as one of the alternatives lets it in")
        if self.host.machine is not None and self._words("authorizedkeysfile") == ["none"]:
            self._refuse("authorizedkeysfile", "labrun logs in with a key", "leave it out")
        if self._first("forcecommand") not in ("", "none"):
            self._refuse(
                "forcecommand", "labrun runs commands of its own", "restrict one key in authorized_keys"
            )


def _is_key_alone(methods: str) -> bool:
    return methods == "any" or all(each.partition(":")[0] == "publickey" for each in methods.split(","))


def _listens(entry: str, ports: Sequence[int], port: int, address: Address) -> bool:
    """Tell whether a ListenAddress takes connections to ``address`` and ``port``; an unknown name does."""
    host, own_port = listens_at(entry)
    if port not in ([own_port] if own_port else ports):
        return False
    if host == "localhost":
        return False
    try:
        own = ip_address(host)
    except ValueError:
        return True
    return own == address or (own.is_unspecified and own.version == address.version)


def _fits(name: str, pattern: str) -> bool:
    """Tell whether sshd's pattern, with ``*`` and ``?``, covers the name."""
    wild = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.fullmatch(wild, name, re.DOTALL) is not None


def _is_named(login: str, pattern: str) -> bool:
    user, at, _ = pattern.rpartition("@")
    return _fits(login, pattern) or (bool(at) and _fits(login, user))


def _is_denied(login: str, pattern: str) -> bool:
    """Tell whether sshd denies the login from everywhere; where labrun comes from is not in the file."""
    user, at, source = pattern.rpartition("@")
    return _fits(login, pattern) or (bool(at) and source == "*" and _fits(login, user))
