"""Further members of each kind of change in ``lockouts``, for the long run of the suite."""

from __future__ import annotations

from tests.e2e.lockouts import ALL, CASES, Case, on_change, only_file

__all__ = ["FULL"]

_NM = "/etc/NetworkManager"
_COMMANDS = (
    "ip link set eth0 mtu 68",
    "ip link set eth0 mtu 576; ip -6 route flush table main",
    "ip addr add 10.99.0.1/8 dev eth0; ip addr del $(ip -o -4 addr show eth0 | awk '{print $4}') dev eth0",
    "ip route add unreachable 10.60.5.1/32",
    "ip route add prohibit 10.60.0.0/16 metric 0",
    "ip route add 10.60.5.1/32 dev lo",
    "ip route add local 10.60.5.1/32 dev lo table local",
    "ip rule add pref 1 prohibit; ip -6 rule add pref 1 prohibit",
    "ip rule flush; ip rule add pref 100 lookup 100",
    "ip rule del pref 32766",
    "ip neigh replace 10.60.5.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
    "ip link set lo down",
    "ip addr flush dev lo",
    "ip link add link eth0 name v9 type macvlan; ip link set v9 up; ip link set eth0 down",
    "ip link set eth0 name ethx || ip link set eth0 down",
    "nft add table inet a; nft 'add chain inet a i { type filter hook input priority -500; policy drop; }'",
    "nft add table inet a; nft 'add chain inet a o { type filter hook output priority 0; policy drop; }'",
    "nft add table arp a; nft 'add chain arp a i { type filter hook input priority 0; policy drop; }'",
    (
        "nft add table netdev a; nft 'add chain netdev a i { type filter hook ingress device eth0 priority 0;"
        " policy drop; }'"
    ),
    (
        "nft add table ip n; nft 'add chain ip n p { type nat hook prerouting priority -100; }';"
        " nft add rule ip n p tcp dport 22 redirect to :9"
    ),
    "nft add table ip a; nft 'add chain ip a p { type filter hook prerouting priority -400; policy drop; }'",
    "systemctl stop ssh.socket ssh.service; systemctl disable ssh.service",
    "systemctl kill -s KILL ssh",
    "systemctl mask ssh; systemctl stop ssh",
    "systemctl stop NetworkManager; ip addr flush dev eth0",
    "systemctl disable --now NetworkManager",
    "systemctl stop systemd-journald.socket systemd-journald ssh",
    "systemctl isolate rescue.target",
    "systemctl stop basic.target",
    "systemctl stop system.slice",
    "systemctl stop user.slice",
    "systemctl stop dbus.socket dbus.service NetworkManager",
    "systemctl set-default emergency.target",
    "systemctl mask systemd-user-sessions systemd-logind",
    "systemctl mask multi-user.target",
    "systemctl mask dbus.service dbus.socket",
    "systemctl daemon-reexec; systemctl stop ssh",
    "pkill -9 sshd",
    "pkill -STOP sshd",
    "pkill -STOP NetworkManager",
    "kill -9 -1",
    "touch /etc/nologin",
    "touch /run/nologin",
    "chmod 000 /etc/ssh/sshd_config",
    "chmod 644 /etc/ssh/ssh_host_*_key",
    "rm -rf /etc/ssh",
    "mv /etc/ssh /etc/ssh.gone",
    "rm -f /etc/passwd",
    "sed -i '/^lab:/d' /etc/passwd /etc/shadow",
    "usermod -L -e 1 lab",
    "usermod -d /nowhere lab",
    "chown -R root:root /home/lab/.ssh; chmod 000 /home/lab/.ssh",
    "chmod 000 /home",
    "chmod 777 /",
    "chmod 700 /etc",
    "echo 'account required pam_deny.so' >/etc/pam.d/sshd",
    "rm -rf /etc/pam.d",
    "echo 'Defaults requiretty' >/etc/sudoers.d/00-x",
    "echo 'rubbish' >/etc/sudoers",
    "rm -rf /etc/NetworkManager/system-connections/*; nmcli connection reload",
    "nmcli connection delete labrun-left",
    "nmcli device disconnect eth0",
    "nmcli device set eth0 managed no; ip addr flush dev eth0",
    "nmcli networking off",
    "nmcli connection modify labrun-left ipv4.addresses 10.99.0.5/24; nmcli connection up labrun-left",
    "nmcli connection modify labrun-left connection.autoconnect no",
    "nmcli connection add type ethernet ifname eth0 con-name y ip4 10.99.0.6/24; nmcli connection up y",
    (
        "printf '[keyfile]\\nunmanaged-devices=*\\n' >/etc/NetworkManager/conf.d/x.conf;"
        " systemctl restart NetworkManager"
    ),
    "sysctl -w net.ipv4.conf.all.arp_ignore=8",
    "sysctl -w net.ipv4.conf.eth0.arp_ignore=8",
    "sysctl -w net.ipv4.conf.all.rp_filter=1 net.ipv4.icmp_echo_ignore_all=1; ip link set eth0 arp off",
    (
        "sysctl -w net.ipv4.tcp_max_syn_backlog=0 net.ipv4.conf.eth0.forwarding=1; ip route flush cache;"
        " ip link set eth0 down"
    ),
    "sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_local_port_range='1 2'; systemctl stop ssh",
    "(sleep 1; systemctl stop ssh) & sleep 2",
    "setsid sh -c 'while :; do nmcli networking off; sleep 1; done' >/dev/null 2>&1 &",
    "nohup sh -c 'for i in 1 2 3 4 5 6; do systemctl stop ssh; sleep 1; done' >/dev/null 2>&1 &",
    "systemd-run --on-active=1 systemctl stop ssh; sleep 3",
    "yes >/dev/null & systemctl stop ssh",
    "mount -t tmpfs none /etc/ssh; systemctl restart ssh",
    "mount -t tmpfs none /home",
    "hostname x; sed -i 's/^/#/' /etc/nsswitch.conf; systemctl stop ssh",
    "echo ALL: ALL >/etc/hosts.deny; systemctl stop ssh",
    (
        "printf '[Service]\\nExecStartPre=/bin/false\\n' >/etc/systemd/system/ssh.service;"
        " systemctl daemon-reload; systemctl restart ssh"
    ),
    (
        "ln -sf /dev/null /etc/systemd/system/NetworkManager.service; systemctl daemon-reload;"
        " systemctl stop NetworkManager"
    ),
    "exec kill -9 $PPID",
    "ip addr add 10.99.0.1/8 dev eth0; ip addr del $(ip -o addr show eth0 | awk '{print $4; exit}') dev eth0",
    # What no unit, no file of /etc and no listing of addresses shows.
    "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir in action block",
    "tc qdisc add dev eth0 clsact; systemctl stop ssh",
    "ip netns add away; ip link set eth0 netns away",
    "systemctl mask --runtime ssh; systemctl stop ssh",
    (
        "mkdir -p /run/systemd/system/ssh.service.d; cd /run/systemd/system/ssh.service.d;"
        " printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >x.conf;"
        " systemctl daemon-reload; systemctl restart ssh"
    ),
    "systemctl set-property --runtime ssh.service TasksMax=1; pkill sshd",
    "systemctl set-property --runtime system.slice TasksMax=1",
    (
        "mkdir -p /run/NetworkManager/conf.d; systemctl stop ssh;"
        " printf '[keyfile]\\nunmanaged-devices=*\\n' >/run/NetworkManager/conf.d/x.conf;"
        " systemctl restart NetworkManager; ip addr flush dev eth0"
    ),
    "sed -i '1i exit 1' /home/lab/.bashrc",
    "echo 'exec false' >/home/lab/.bashrc; chattr +i /home/lab/.bashrc",
    "chmod 600 /usr/bin/sudo",
    "chmod 600 /dev/null",
    "rm -rf /run/sshd",
    "chmod 777 /run/sshd; chown lab /run/sshd",
    'prlimit --pid "$(cat /run/sshd.pid)" --nofile=3',
    "systemctl freeze ssh || pkill -STOP sshd",
    # What the guard itself needs.
    "mount -t tmpfs none /run",
    "mount -t tmpfs none /dev",
    "rm -f /dev/null; echo x >/dev/null; systemctl stop ssh",
    "mount --bind /bin/false /usr/sbin/sshd; systemctl restart ssh",
    "mount --bind /bin/false /usr/bin/sudo",
    "rm -rf /run/dbus",
    "ip link add d0 type dummy; ip addr add 10.60.5.1/32 dev d0; ip link set d0 up",
    "tc qdisc add dev eth0 root netem loss 100%",
    "usermod -u 4242 lab",
    "systemctl emergency",
)
_FILES = (
    ("/etc/ssh/sshd_config.d/80-x.conf", "Port 2222\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "ListenAddress 127.0.0.1\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "DenyUsers lab\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AllowGroups nobody\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  PubkeyAuthentication no\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AuthorizedKeysFile /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  ForceCommand /bin/false\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AuthenticationMethods publickey,password\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "PubkeyAcceptedAlgorithms ssh-rsa\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "HostKey /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  ChrootDirectory /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "MaxStartups 1:100:1\nMatch all\n  MaxSessions 0\n"),
    ("/home/lab/.ssh/authorized_keys", "# nobody\n"),
    ("/etc/nologin", "closed\n"),
    ("/etc/shells", "/bin/none\n"),
    ("/etc/pam.d/common-account", "account required pam_deny.so\n"),
    ("/etc/sudoers.d/zz-x", "Defaults requiretty\n"),
    (f"{_NM}/conf.d/x.conf", "[keyfile]\nunmanaged-devices=interface-name:eth*\n"),
    (f"{_NM}/conf.d/x.conf", "[device-x]\nmatch-device=interface-name:eth0\nmanaged=0\n"),
    ("/etc/sysctl.d/99-y.conf", "net.ipv4.conf.eth0.arp_ignore = 8\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Unit]\nConditionPathExists=/nowhere\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Service]\nExecStart=\nExecStart=/nowhere\n"),
    ("/etc/systemd/system/NetworkManager.service.d/y.conf", "[Unit]\nRequires=nowhere.service\n"),
    ("/etc/systemd/system/NetworkManager.service.d/y.conf", "[Service]\nExecStart=\nExecStart=/bin/true\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Service]\nExecStartPre=/bin/false\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Service]\nUser=nobody\n"),
    ("/etc/systemd/system/multi-user.target.d/y.conf", "[Unit]\nConflicts=ssh.service\n"),
    ("/etc/systemd/system/sysinit.target.d/y.conf", "[Unit]\nRequires=nowhere.service\n"),
    ("/etc/ssh/sshd_not_to_be_run", "x\n"),
    ("/etc/security/limits.d/x.conf", "* hard nproc 0\n* hard nofile 1\n"),
    ("/etc/bash.bashrc", "exit 1\n"),
    ("/etc/environment", "LD_PRELOAD=/nowhere.so\nPATH=/nowhere\n"),
    ("/etc/nsswitch.conf", "passwd: nothing\n"),
)
_SERVICES = (
    {"ssh": "stopped"},
    {"NetworkManager": "stopped", "ssh": "disabled"},
    {"basic.target": "stopped"},
    {"systemd-journald": "stopped", "NetworkManager": "disabled"},
    {"systemd-logind": "stopped", "dbus.socket": "stopped"},
)
# The file alone does not show that these keep labrun out: it refuses what does.
_SSHD = (
    "AllowUsers: lab@192.0.2.1",
    "DenyUsers: lab@*.*",
    "AuthorizedKeysFile: /nowhere",
    "ListenAddress: ip6-localhost",
    "PubkeyAcceptedAlgorithms: ssh-rsa",
)
_NMCLI = (
    # NetworkManager refuses this method beside addresses, a gateway or name servers.
    "ipv4.method: disabled, ipv4.addresses: '', ipv4.gateway: '', ipv4.dns: ''",
    "ipv4.addresses: 10.99.0.5/24",
    "ipv4.addresses: 10.60.5.250/32",
    "connection.interface-name: eth9",
    "ethernet.mtu: 576, ipv4.addresses: 10.99.0.6/24, ipv4.gateway: '', ipv4.never-default: yes",
    "match.driver: nowhere",
    "match.path: nowhere",
    "ipv4.routing-rules: priority 5 from 0.0.0.0/0 table 77",
    "ethernet.cloned-mac-address: '02:00:00:00:00:77'",
    "connection.zone: x, ipv4.never-default: yes, connection.autoconnect: no",
)
FULL: dict[str, Case] = {
    **{name: case for name, case in ALL.items() if name not in CASES},
    **{f"c{number}": on_change(command) for number, command in enumerate(_COMMANDS)},
    **{f"f{number}": only_file(path, text) for number, (path, text) in enumerate(_FILES)},
    **{f"u{number}": Case(services=units) for number, units in enumerate(_SERVICES)},
    **{f"s{number}": Case(f"sshd: {{{setting}}}") for number, setting in enumerate(_SSHD)},
    **{f"n{number}": Case(nmcli=properties) for number, properties in enumerate(_NMCLI)},
}
"""Further members, for the long run of the suite."""
