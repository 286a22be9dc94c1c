"""Faults of packet filters and of the services that reply on a host."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault

__all__ = ["FILTERS"]

FILTERS: tuple[Fault, ...] = (
    Fault(
        "forward-drops",
        "router",
        'site inet "$(chain forward 0 accept "ip saddr $own ip daddr $far counter drop")"',
        "table_back inet",
        (
            "One pair of hosts cannot talk, in one direction.",
            "Forwarding is on and routes are right; {host} decides by something else.",
            "nft list ruleset on {host}: watch the counters while you ping",
        ),
        "{host}: nftables drops it: inet site, chain for_site: ip saddr {own} ip daddr {far} drop",
    ),
    Fault(
        "forward-rejects",
        "router",
        'rule="ip daddr $far_net counter reject with icmp type admin-prohibited"\n'
        'site inet "$(chain forward 0 accept "$rule")"',
        "table_back inet",
        (
            "A host on the way refuses it, and says so.",
            "traceroute shows who with !X: {host}.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: inet site, chain for_site: ip daddr {far_net} reject",
    ),
    Fault(
        "forward-policy",
        "router",
        'site inet "$(chain forward 0 drop "tcp dport 22 accept")"',
        "table_back inet",
        (
            "Some traffic between the networks passes, most does not.",
            "On {host} there is no rule against it. What happens where no rule matches?",
            "nft list chains on {host}: read the policies",
        ),
        "{host}: nftables drops it: inet site, chain for_site: policy drop",
    ),
    Fault(
        "prerouting-drops",
        "router",
        'rule="ip saddr $own ip daddr $far_net counter name lost drop"\n'
        'site inet "counter lost { }" "$(chain prerouting -300 accept "$rule")"',
        "table_back inet",
        (
            "One host cannot leave its network.",
            "{host} drops its packets before it even looks for a route.",
            "nft list counters and nft list ruleset on {host}",
        ),
        'drop (counter "lost": ',
    ),
    Fault(
        "input-drops",
        "source",
        'site inet "$(chain input 0 accept "ip saddr $far counter drop")"',
        "table_back inet",
        (
            "A host answers its neighbours, but not everybody.",
            "{host} gets the packets of {target} and says nothing.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: inet site, chain inp_site: ip saddr {far} drop",
    ),
    Fault(
        "output-drops",
        "source",
        'site inet "$(chain output 0 accept "ip daddr $far_net counter drop")"',
        "table_back inet",
        (
            "A host cannot reach a network, and cannot answer it.",
            "Its packets do not even get out of {host}.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: inet site, chain out_site: ip daddr {far_net} drop",
    ),
    Fault(
        "large-packets-drop",
        "router",
        'site inet "$(chain forward 0 accept "ip length > 1300 drop")"',
        "table_back inet",
        (
            "Pings and logins work; copying a file hangs.",
            "Size matters, and no error comes back. {host} is where they get lost.",
            "ping -M do -s 1472 {far} on {source}, then nft list ruleset on {host}",
        ),
        "packets of 1500 bytes get lost, small ones do not: {host}: nftables drops it",
    ),
    Fault(
        "arp-filtered",
        "source",
        'site arp "$(chain input 0 accept "arp saddr ip $gw drop")" '
        '"$(chain output 0 accept "arp daddr ip $gw drop")"\n'
        'ip neigh del "$gw" dev "$nic" 2>/dev/null || :',
        "table_back arp",
        (
            "A host does not find its gateway; the gateway is fine.",
            "{host} asks who has {gw}, and hears nothing. Does it really ask?",
            "nft list ruleset and ip neigh on {host}",
        ),
        "{host}: nftables drops ARP for {gw}",
    ),
    Fault(
        "pings-ignored",
        "source",
        "sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
        "sysctl_back net.ipv4.icmp_echo_ignore_all",
        (
            "A host is there and does not answer everything.",
            "traceroute reaches {host}, ping does not.",
            "sysctl -a -r icmp_echo on {host}",
        ),
        "{host}: net.ipv4.icmp_echo_ignore_all is 1",
    ),
    Fault(
        "sshd-stopped",
        "source",
        "systemctl stop ssh",
        'systemctl is-active -q ssh && echo "systemctl start ssh"',
        (
            "A host can be pinged but not logged in to.",
            "{host} refuses: nothing listens there.",
            "labrun console {host}, then systemctl status ssh",
        ),
        "sshd is not running: ssh.service is inactive",
    ),
    Fault(
        "passwords-allowed",
        "source",
        'printf "PasswordAuthentication yes\\n" >/etc/ssh/sshd_config.d/00-a.conf\n'
        "chmod 644 /etc/ssh/sshd_config.d/00-a.conf\nsystemctl reload ssh",
        'echo "rm -f /etc/ssh/sshd_config.d/00-a.conf"\necho "systemctl reload ssh"',
        (
            "Every packet gets where it should; others might get in too.",
            "On {host} sshd does not hold what its file says.",
            "sshd -T on {host}: the first value wins",
        ),
        "passwordauthentication",
    ),
)
