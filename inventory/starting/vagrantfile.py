"""Read the machines and private networks of a Vagrantfile, line by line: it is Ruby, and never run."""

from __future__ import annotations

import re
from ipaddress import ip_interface
from typing import Final

from pydantic import TypeAdapter

from labrun.inventory.file.name_types import MachineName
from labrun.inventory.file.source import Source
from labrun.inventory.starting.draft import Draft, DraftHost, DraftNic, misread, short
from labrun.inventory.starting.ruby_blocks import expanded
from labrun.inventory.starting.ruby_lines import Line

__all__ = ["read_vagrantfile"]

_DEFINE: Final = re.compile(
    r"(?P<of>\w+)\.vm\.define\s*\(?\s*[:\"'](?P<name>[^\"',\s)|]+)[\"']?[^|]*?(?:(?:do|\{)\s*\|\s*(?P<as>\w+)[^|]*\|.*)?"
)
_NETWORK: Final = re.compile(r"(?P<of>\w+)\.vm\.network\s*\(?\s*[:\"'](?P<kind>\w+)[\"']?\s*,?(?P<rest>.*)")
_PROVIDER: Final = re.compile(r"(?P<of>\w+)\.vm\.provider\b.*\|\s*(?P<as>\w+)[^|]*\|.*")
_ROOT: Final = re.compile(r"Vagrant\.configure\b.*\|\s*(?P<as>\w+)\s*\|.*")
_OPTION: Final = re.compile(
    r"(?<![a-z_0-9]):?(?P<key>[a-z_0-9]++)\s*+(?:=>|:)\s*+(?:\"(?P<text>[^\"]*)\"|'(?P<also>[^']*)'|:?(?P<word>[\w.]+))"
)
_VALUE: Final = re.compile(
    r"(?P<of>\w+)\.(?P<key>vm\.hostname|vm\.box|memory|cpus)\s*=\s*[\"']?(?P<value>[^\"']*?)[\"']?\s*"
)
_CUSTOMIZE: Final = re.compile(
    r"(?P<of>\w+)\.customize.*[\"']--(?P<key>memory|cpus)[\"']\s*,\s*[\"']?(?P<value>\d{1,7})[\"']?.*"
)
_HOSTNAME: Final[TypeAdapter[str]] = TypeAdapter(MachineName)
_NAMES: Final = ("virtualbox__intnet", "libvirt__network_name", "vmware__vmnet", "name")
_MODES: Final = {
    "none": "isolated",
    "nat": "nat",
    "route": "route",
    "open": "open",
    "veryisolated": "very-isolated",
}
_QUIET: Final = re.compile(
    r"\s*(?:end|else|\}|\)|puts\b.*|require\b.*|[a-z_]\w*\.ssh\..*|\w+\.vm\.(?:box_\w+|boot_timeout).*)\s*"
)


def read_vagrantfile(source: Source) -> Draft:
    """Return the draft of a Vagrantfile. Raises UsageError if it defines no machine and no network."""
    reader = _Reader(Draft(source.name, "a Vagrantfile"))
    lines, unread = expanded(source.text.splitlines())
    for number, what, why in unread:
        reader.draft.leave_out(what, why, number)
        reader.is_lost |= why.startswith("a loop")
    for line in lines:
        reader.read(line)
    return reader.done()


class _Reader:
    """The variables that stand for machines, and what is said of all of them."""

    def __init__(self, draft: Draft):
        self.draft = draft
        self._roots = {"config"}
        self._of: dict[str, str | None] = {}
        self._for_all: list[Line] = []
        self.is_lost = False

    def read(self, line: Line) -> None:
        text = line.text.strip()
        if ".vm.define" in text and not _DEFINE.fullmatch(text):
            self.is_lost = True
        if "#{" in text:
            self.draft.leave_out(short(text), "depends on a value that labrun does not compute", line.number)
        elif match := _ROOT.fullmatch(text):
            self._roots.add(match["as"])
        elif (match := _DEFINE.fullmatch(text)) and match["of"] in self._roots:
            self.draft.add_host(match["name"])
            if match["as"]:
                self._of[match["as"]] = match["name"]
        elif (match := _PROVIDER.fullmatch(text)) and self._is_known(match["of"]):
            self._of[match["as"]] = None if match["of"] in self._roots else self._of[match["of"]]
        elif match := _NETWORK.fullmatch(text) or _VALUE.fullmatch(text) or _CUSTOMIZE.fullmatch(text):
            if not self._is_known(match["of"]):
                self.draft.leave_out(short(text), f"labrun cannot tell what {match['of']} is", line.number)
            elif (called := self._of.get(match["of"])) is None:
                self._for_all.append(line)
            else:
                self._say(self.draft.hosts[called], line)
        elif re.match(r"(if|unless|case|when|elsif)\b", text):
            self.draft.leave_out(short(text), "a condition: what it guards counts as if it held", line.number)
        elif not _QUIET.fullmatch(text):
            what = f"{text.split()[0]} ..." if re.match(r"\w+\.vm\.", text) and " " in text else text
            self.draft.leave_out(short(what), "has no counterpart", line.number)

    def _is_known(self, variable: str) -> bool:
        return variable in self._roots or variable in self._of

    def done(self) -> Draft:
        """Apply what is said of all machines, and return the draft."""
        draft = self.draft
        if not draft.hosts:
            if not self._for_all and not self.is_lost:
                raise misread(draft.source, "defines no machine and no network that can be read", 1)
            draft.add_host("machine")
        for host in draft.hosts.values():
            own, host.nics = host.nics, []
            for line in self._for_all:
                self._say(host, line)
            host.nics += own
            for number, nic in enumerate(host.nics, 1):
                nic.called = f"eth{number}"
        if self.is_lost and list(draft.hosts) == ["machine"]:
            draft.hosts["machine"].note = "stands for the machines that could not be read"
        draft.leave_out(
            "the network over which Vagrant logs in", "a network of mode nat gives machines a way out"
        )
        return draft

    def _say(self, host: DraftHost, line: Line) -> None:
        text = line.text.strip()
        if match := _NETWORK.fullmatch(text):
            self._network(host, match["kind"], match["rest"], line.number)
            return
        match = _VALUE.fullmatch(text) or _CUSTOMIZE.fullmatch(text)
        assert match is not None
        key, value = match["key"], match["value"]
        if key in ("memory", "cpus"):
            if not re.fullmatch(r"\d{1,7}", value):
                what = f"{host.name}: {key} {short(value)}"
                self.draft.leave_out(what, "depends on a value that labrun does not compute", line.number)
            elif key == "memory":
                host.memory = max(256, min(1_048_576, int(value)))
            else:
                host.vcpus = max(1, min(64, int(value)))
        elif key == "vm.box":
            host.note = f"{host.name}, box {value}"
        else:
            self._hostname(host, value, line.number)

    def _network(self, host: DraftHost, kind: str, rest: str, line: int) -> None:
        options = {
            match["key"]: next(
                each for each in (match["text"], match["also"], match["word"]) if each is not None
            )
            for match in _OPTION.finditer(rest)
        }
        if kind == "forwarded_port":
            ports = f"{options.get('host', '?')} to {options.get('guest', '?')}"
            self.draft.leave_out(
                f"{host.name}: port {short(ports)}", "`forward` of a network of mode nat does this", line
            )
            return
        if kind != "private_network":
            self.draft.leave_out(
                f"{host.name}: {short(kind)}", "`mode: bridge` is a network of this kind", line
            )
            return
        nic = DraftNic("")
        self._address(host, nic, options, line)
        if (mac := options.get("mac")) is not None:
            self._mac(host, nic, mac, line)
        named = next((options[key] for key in _NAMES if options.get(key)), None)
        if named in ("true", "false"):
            named = "intnet" if named == "true" else None
        nic.network = named or (str(nic.addresses[0].network) if nic.addresses else "private")
        network = self.draft.add_network(nic.network)
        if named is None:
            others = [each for each in self.draft.networks.values() if each.name.startswith("private")]
            network.name = network.name if nic.network == "private" else f"private{len(others) + 1}"
            if network.name.startswith("private") and nic.network != "private":
                network.note = f"the private network {nic.network}"
            self._unnumber(nic.network, network.name)
        mode = _MODES.get(options.get("libvirt__forward_mode", ""))
        network.mode = mode or network.mode
        if options.get("libvirt__dhcp_enabled") == "false":
            network.dhcp = False
        host.nics.append(nic)

    def _hostname(self, host: DraftHost, value: str, line: int) -> None:
        try:
            name = _HOSTNAME.validate_python(value)
        except ValueError:
            self.draft.leave_out(f"{host.name}: hostname {short(value)}", "not a valid hostname", line)
            return
        host.hostname = name if name != host.name else None

    def _mac(self, host: DraftHost, nic: DraftNic, text: str, line: int) -> None:
        digits = re.sub("[:-]", "", text.lower())
        if re.fullmatch("[0-9a-f][02468ace][0-9a-f]{10}", digits):
            nic.mac = ":".join(re.findall("..", digits))
        else:
            self.draft.leave_out(f"{host.name}: mac {short(text)}", "not the address of one NIC", line)

    def _unnumber(self, called: str, name: str) -> None:
        """Keep the name of a network that was seen before."""
        if not hasattr(self, "_named"):
            self._named: dict[str, str] = {}
        self.draft.networks[called].name = self._named.setdefault(called, name)

    def _address(self, host: DraftHost, nic: DraftNic, options: dict[str, str], line: int) -> None:
        text = options.get("ip")
        if text is None:
            nic.dhcp = True
            return
        mask = options.get("netmask") or options.get("libvirt__netmask") or ("64" if ":" in text else "24")
        try:
            nic.addresses.append(ip_interface(f"{text}/{mask}"))
        except ValueError:
            self.draft.leave_out(f"{host.name}: {short(text)}", "not an address", line)
