"""What each key of the lab file means, with an example: for editors, and for docs/lab-file-keys.md.

The full text on each key is docs/lab-file.md; this is what an editor shows beside it.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["PLACES", "TEXTS"]

Text = tuple[str, Any]

_MODE: Final = (
    "`isolated`: the hypervisor has an address, nothing goes out. `nat`: guests go out under the "
    "hypervisor's address; `route`, `open`: under their own. `very-isolated`: no address of the hypervisor. "
    "`bridge`, `macvtap`: a bridge or device of the hypervisor."
)
_PROTO: Final = "Protocol; the ports of a rule are of this one."

PLACES: Final[dict[str, str]] = {
    "LabFile": "Top level",
    "HypervisorEntry": "hypervisors.N",
    "NetworkModel": "networks.N",
    "HypervisorModel": "networks.N.hypervisor_address",
    "DhcpModel": "networks.N.dhcp",
    "HypervisorForwardModel": "networks.N.forward[]",
    "VlanModel": "networks.N.vlan",
    "HostModel": "hosts.H",
    "Settings": "hosts.H, groups.G and defaults",
    "NicModel": "hosts.H.networks.N",
    "RouteModel": "hosts.H.routes[]",
    "RoutesModel": "hosts.H.routes",
    "DiskModel": "hosts.H.disks[]",
    "FirewallModel": "hosts.H.firewall",
    "RuleModel": "hosts.H.firewall.allow[]",
    "NatModel": "hosts.H.nat",
    "ForwardModel": "hosts.H.nat.forward[]",
    "FileModel": "hosts.H.files.PATH",
    "ServiceModel": "hosts.H.services.UNIT",
    "AccessModel": "hosts.H.access",
    "GuardModel": "hosts.H.guard, and guard at the top level",
    "SshModel": "hosts.H.ssh",
    "GroupModel": "groups.G",
    "FilterRuleModel": "filters.F[]",
    "ImageModel": "images.I",
    "CheckModel": "checks[]",
    "MatchModel": "checks[].stdout and body",
    "LeftRoutesModel": "routes at the top level",
    "ScheduleModel": "schedule",
}
"""Where in the file each model stands, in the order of the reference."""

TEXTS: Final[dict[str, dict[str, Text]]] = {
    "LabFile": {
        "name": ("The lab's name; every libvirt object of the lab begins with it.", "kvm-network-lab"),
        "requires_labrun": ("Versions of labrun that can read this file.", ">=0.1"),
        "hypervisor": (
            "Where the machines run: `auto` or the location of libvirt, such as `qemu:///system`.",
            "lxc:///system",
        ),
        "hypervisors": (
            "Several hypervisors by name, in place of `hypervisor`: locations of libvirt, or the keys below.",
            {"a": "qemu:///system", "b": {"uri": "qemu+ssh://lab@b/system", "tunnel": "10.0.0.2"}},
        ),
        "defaults": ("Values for all hosts, unless they or their group set them.", {"memory": 384}),
        "networks": (
            "Networks by name.",
            {"network1": {"mode": "isolated", "cidr": "172.16.0.0/24"}},
        ),
        "hosts": ("Hosts by name, in order.", {"host01": {"networks": {"network1": "172.16.0.11"}}}),
        "groups": ("Hosts that have keys in common.", {"web": {"hosts": ["host01"], "memory": 384}}),
        "filters": (
            "Traffic that the hypervisor refuses at NICs, by the name of the filter. The first rule decides.",
            {"no-web": [{"deny": "out", "proto": "tcp", "port": [80, 443]}]},
        ),
        "images": ("The lab's own images by name.", {"mine": {"path": "./mine.qcow2"}}),
        "checks": (
            "Conditions that `verify` checks besides what follows from the file.",
            [{"name": "no-telnet", "from": "host01", "to": "host03", "tcp": 23, "expect": "blocked"}],
        ),
        "schedule": ("How often `labrun schedule` compares the lab with the file.", {"every": "15m"}),
        "routing": (
            "`auto`: routers get the routes to every network of the lab; `manual`: they do not.",
            "manual",
        ),
        "guard": ("What hosts do as a last resort after a rollback.", {"last_resort": "reboot"}),
        "routes": ("Routes that are left alone on all hosts.", {"ignore": ["proto bird"]}),
        "ssh_keys": (
            "Public keys of people who may log in to every host besides labrun.",
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@desk"],
        ),
    },
    "HypervisorEntry": {
        "uri": ("The location of libvirt.", "qemu+ssh://lab@b/system"),
        "tunnel": ("Its address to which the others send the frames of networks that span.", "10.0.0.2"),
        "weight": ("Its share of the hosts without a `hypervisor`, relative to the others.", 2),
    },
    "NetworkModel": {
        "mode": (
            _MODE,
            "nat",
        ),
        "cidr": ("IPv4 subnet of the network.", "172.16.0.0/24"),
        "cidr6": ("IPv6 subnet; makes the network dual-stack.", "fd00:1::/64"),
        "hypervisor_address": (
            "The hypervisor's address on the network, or `none`; by default the first one.",
            "172.16.0.254",
        ),
        "dhcp": (
            "Whether libvirt serves DHCP, or the range it gives out.",
            {"range": ["172.16.0.100", "172.16.0.120"]},
        ),
        "domain": ("DNS domain that libvirt answers for.", "lab.test"),
        "mtu": ("Largest packet in bytes; at least 1280 with IPv6.", 1400),
        "autostart": ("Whether the network starts together with libvirt.", False),
        "dev": ("Uplink for nat and route; the device for macvtap.", "enp3s0"),
        "bridge": ("An existing bridge of the hypervisor, for mode `bridge`.", "br0"),
        "bridge_name": ("Name of the bridge that libvirt creates for this network.", "lab-desks"),
        "nat_ports": ("First and last source port of mode nat.", [20000, 30000]),
        "dns": ("Additional names for libvirt's DNS.", {"printer.lab.test": "172.16.0.77"}),
        "forward": (
            "Ports of the hypervisor that lead into this network of mode nat.",
            [{"port": 8080, "to": "host01:80"}],
        ),
        "vlan": ("Makes the network an 802.1Q VLAN on another one.", {"on": "trunk", "id": 20}),
    },
    "HypervisorModel": {
        "ipv4": ("The hypervisor's IPv4 address, or `none`.", "172.16.0.254"),
        "ipv6": ("The hypervisor's IPv6 address, or `none`.", "fd00:1::fe"),
    },
    "DhcpModel": {"range": ("First and last address that DHCP gives out.", ["172.16.0.100", "172.16.0.120"])},
    "HypervisorForwardModel": {
        "port": ("The hypervisor's port.", 8080),
        "to": ("`HOST:PORT` or `ADDRESS:PORT` on this network.", "host01:80"),
        "proto": ("Protocol of the port.", "udp"),
    },
    "VlanModel": {
        "on": ("The network that carries the tagged frames.", "trunk"),
        "id": ("VLAN ID, 1 to 4094.", 20),
    },
    "HostModel": {
        "networks": (
            "NICs in order, by name: an address, `dhcp`, `none`, or a mapping.",
            {"network1": "172.16.0.11", "network2": "dhcp"},
        ),
        "hostname": (
            "The machine's own hostname; without it the host's name, and an existing machine keeps its own.",
            "web.lab.test",
        ),
        "address": ("Where an existing machine answers, which labrun did not create.", "192.0.2.7"),
        "ssh_keys": (
            "Public keys for this host, added to those of its groups and of the top level.",
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f bob@desk"],
        ),
    },
    "Settings": {
        "image": ("Image that the machine is created from.", "debian-12"),
        "memory": ("Memory in MiB.", 512),
        "vcpus": ("Virtual processors of a VM; of a container, how many it may use.", 2),
        "disk": ("Size of a VM's system disk in GiB.", 10),
        "disks": ("Further disks of a VM, in GiB each.", [1, {"size": 2}]),
        "firmware": ("What a VM starts with.", "uefi"),
        "autostart": ("Whether the machine starts together with libvirt.", True),
        "driver": ("Makes this host a container (`lxc`) or a VM (`qemu`).", "lxc"),
        "hypervisor": ("Where the machine is to be, if the file has `hypervisors`: a name, or `auto`.", "b"),
        "user": ("Login user.", "lab"),
        "role": ("`router` forwards packets, `host` does not.", "router"),
        "gateway": ("Default gateway: `auto`, a host, an address, or `none`.", "host00"),
        "routes": ("Static routes.", [{"to": "10.9.0.0/16", "via": "host00"}]),
        "sysctl": ("Kernel parameters, now and after the next boot.", {"net.ipv4.tcp_syncookies": 1}),
        "sshd": (
            "Keywords of sshd_config beside the hardened profile; `false` leaves sshd alone.",
            {"MaxAuthTries": 3},
        ),
        "firewall": (
            "What the host lets in and through.",
            {"input": "drop", "allow": [{"proto": "tcp", "port": 80, "from": "network1"}]},
        ),
        "nat": ("What a router translates.", {"masquerade": ["network1"]}),
        "selinux": ("Mode of SELinux, now and after a reboot.", "enforcing"),
        "packages": ("Packages to install where they are missing.", ["tcpdump"]),
        "files": ("Files by path.", {"/etc/motd": {"content": "welcome\n"}}),
        "services": (
            "Units by name: `enabled`, `disabled`, `running`, `stopped`, or a mapping.",
            {"nftables": "enabled", "ssh": {"enabled": True, "running": True}},
        ),
        "hosts_file": ("Whether /etc/hosts lists the lab's names.", False),
        "exclusive": ("Remove network profiles and authorized keys that labrun does not know.", True),
        "access": ("The jump host through which labrun reaches this host.", {"via": "host00"}),
        "redundancy": ("Hosts with the same word are never changed at the same time.", "pair"),
        "guard": ("What the host does as a last resort after a rollback.", {"last_resort": "leave"}),
        "ssh": (
            "How to log in to an existing machine; of others only `port`.",
            {"user": "admin", "port": 2222},
        ),
    },
    "NicModel": {
        "network": ("The network that the NIC is on; by default the one of its name.", "network1"),
        "ipv4": ("An address, a list of several, or `dhcp`.", "172.16.0.11"),
        "ipv6": ("An address, a list of several, `dhcp`, or `auto` (from the MAC).", "auto"),
        "mac": ("Replaces the derived MAC address.", "52:54:00:00:00:0a"),
        "filter": ("One of the file's `filters`.", "no-web"),
        "nmcli": (
            "Properties of the NetworkManager profile, as nmcli names them.",
            {"ipv4.route-metric": 50},
        ),
        "spoofing": ("Whether the guest may use addresses of others.", "allow"),
        "model": ("Model of a VM's NIC.", "e1000e"),
        "vlan": ("Refused: a VLAN is a network, see `networks.N.vlan`.", 20),
    },
    "RouteModel": {
        "to": ("Destination prefix.", "10.9.0.0/16"),
        "via": ("The next hop: a host or an address.", "host00"),
    },
    "RoutesModel": {
        "static": ("The host's static routes.", [{"to": "10.9.0.0/16", "via": "host00"}]),
        "ignore": ("Routes of others to leave alone, in the words of `ip route`.", ["proto bird"]),
    },
    "DiskModel": {"size": ("Size in GiB.", 2)},
    "FirewallModel": {
        "input": ("Policy for packets to this host that match no rule.", "drop"),
        "forward": ("Policy for packets that it forwards.", "drop"),
        "ssh": ("`false` closes sshd's own ports too.", False),
        "allow": (
            "Packets to accept.",
            [{"from": "network1", "to": "network2"}, {"proto": "udp", "port": 53}],
        ),
    },
    "RuleModel": {
        "proto": (_PROTO, "udp"),
        "port": ("A number, a range, or a list of them; none = all.", [80, "8000-8010"]),
        "from": ("Source: a network, host, address or prefix.", "network1"),
        "to": ("Destination, for packets that are forwarded.", "web"),
    },
    "NatModel": {
        "masquerade": ("Networks whose hosts appear under the router's address, or `all`.", ["network1"]),
        "forward": (
            "Ports of the router that lead to a host.",
            [{"on": "network1", "port": 8080, "to": "web:80"}],
        ),
    },
    "ForwardModel": {
        "on": ("The network at whose address of the router the port is.", "network1"),
        "port": ("The router's port.", 8080),
        "to": ("`HOST:PORT` or `ADDRESS:PORT`.", "web:80"),
        "proto": ("Protocol of the port.", "udp"),
    },
    "FileModel": {
        "content": ("The text itself. Exactly one of content, src and template.", "welcome\n"),
        "src": ("A file beside the lab file, of any kind.", "logo.png"),
        "template": ("A Jinja template beside the lab file.", "peers.j2"),
        "owner": ("Owner; root for a new file.", "root"),
        "group": ("Group; root for a new file.", "adm"),
        "mode": ("Permissions in octal, in quotes; 0644 for a new file.", "0640"),
        "validate": ("Command that must accept the new file, `%s`.", "visudo -cf %s"),
        "on_change": ("Command to run after a change.", "systemctl reload app"),
        "secret": ("The content is shown nowhere.", True),
    },
    "ServiceModel": {
        "enabled": ("Whether the unit starts at boot.", True),
        "running": ("Whether the unit runs now.", True),
    },
    "AccessModel": {"via": ("The host to go through.", "host00")},
    "GuardModel": {
        "last_resort": (
            "`reboot`: restart once if the host has rolled back and is still cut off; `leave`: do not.",
            "reboot",
        )
    },
    "SshModel": {
        "user": ("Login user on the existing machine.", "admin"),
        "port": ("Port of its sshd.", 2222),
        "identity": ("Private key; by default the agent's and the usual files.", "~/.ssh/id_ed25519"),
        "known_hosts": ("File with its host key; by default the user's.", "~/.ssh/known_hosts"),
    },
    "GroupModel": {
        "hosts": ("The hosts of the group.", ["host01", "host02"]),
        "ssh_keys": (
            "Public keys for the hosts of this group.",
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f carol@desk"],
        ),
    },
    "FilterRuleModel": {
        "deny": ("Drop packets in this direction, as seen from the guest.", "out"),
        "reject": ("Refuse packets in this direction and tell the sender.", "in"),
        "allow": ("Let packets in this direction through, before later rules.", "in"),
        "proto": (_PROTO, "tcp"),
        "port": ("Destination port: a number, a range, or a list of them.", [80, 443]),
        "from": ("Source: an address, prefix, network or host.", "network1"),
        "to": ("Destination: an address, prefix, network or host.", "host03"),
        "log": ("Record what the rule refuses; `labrun log` shows it.", True),
    },
    "ImageModel": {
        "url": ("Address to download the image from; needs sha256.", "https://images.example/tiny.qcow2"),
        "sha256": (
            "Checksum of the downloaded file.",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
        "path": ("An image file on this machine.", "./mine.qcow2"),
        "build": ("An image that labrun builds itself.", "debian-12"),
    },
    "CheckModel": {
        "name": ("Name of the row.", "no-telnet"),
        "from": ("Where the check runs: a host, a network or `@group`.", "host01"),
        "to": ("Its target: a host, a network, `@group` or an address.", "host03"),
        "ping": ("An echo request is answered.", True),
        "trace": ("The target is reached, through `via`.", True),
        "tcp": ("A connection to this port.", 23),
        "udp": ("A datagram to this port.", 53),
        "http": ("A GET of `true`, a port, a path, `:8080/path` or a URL.", ":8080/"),
        "dns": ("The name has an address.", "host03.lab.test"),
        "exec": ("A command that ends with `status` on the host.", "uname -r"),
        "sysctl": ("Running kernel parameters.", {"net.ipv4.ip_forward": 1}),
        "sshd": ("Effective settings of sshd.", {"PermitRootLogin": "no"}),
        "mtu": ("An unfragmented packet of this size gets through.", 1500),
        "via": ("Hosts or addresses on the way, for `trace`.", "host00"),
        "status": ("Expected exit status of exec, or HTTP status.", 200),
        "body": ("What the answer to http must contain.", "welcome"),
        "stdout": ("What the output of exec must contain.", {"regex": "^6[.]"}),
        "answer": ("The address that dns must give.", "172.17.0.11"),
        "expect": ("`blocked` is refused or filtered.", "blocked"),
        "wait": ("Try again for this long until the result is as expected.", "30s"),
        "level": ("`warning`: a failure does not fail the run.", "warning"),
    },
    "MatchModel": {
        "contains": ("Text that must occur.", "hello"),
        "regex": ("Regular expression (RE2) that must match a line.", "^6[.]"),
        "equals": ("The whole text, apart from white space at its ends.", "172.16.0.254"),
        "json": ("Path to a value in a JSON text, which the others apply to.", "[0].gateway"),
    },
    "LeftRoutesModel": {"ignore": ("Routes to leave alone, in the words of `ip route`.", ["proto bird"])},
    "ScheduleModel": {"every": ("Time between two comparisons.", "15m")},
}
"""By model and key: the meaning, and an example of its value. Groups and hosts have those of Settings too."""
