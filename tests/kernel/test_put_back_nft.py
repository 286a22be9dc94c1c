"""What the guard puts back of the nftables ruleset, for real: a namespace is damaged and led back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.test_put_back import HEAD, pytestmark, shell

__all__ = ["pytestmark"]

SCENE = """\
nft -f - <<'END' || exit 78
table inet labrun {
    set friends { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.2.0.7 }; }
    map ports { type inet_service : verdict; elements = { 22 : accept, 23 : drop }; }
    chain input {
        type filter hook input priority filter; policy drop;
        counter
        ct state established,related counter accept
        ip saddr @friends tcp dport vmap @ports
        jump more
    }
    chain more { log prefix "a { b" limit rate 5/second accept comment "# x"; }
}
table ip nat {
    chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
table bridge empty { }
END
nft_state >"$guard/nft"
"""
PUT_BACK = """\
nft list ruleset >"$1/before"
eval "$3" || exit 77
nft list ruleset >"$1/damaged"
put_back_nft
nft list ruleset >"$1/after"
differences
"""
DAMAGE = [
    "nft flush ruleset",
    "nft delete table ip nat",
    "nft delete table bridge empty",
    "nft add table inet other",
    "nft add table inet x; nft add chain inet x in '{ type filter hook input priority -5; policy drop; }'",
    "nft insert rule inet labrun input tcp dport 22 drop",
    "nft flush chain inet labrun input",
    "nft add chain inet labrun input '{ policy accept; }'",
    "nft add element inet labrun friends '{ 10.9.0.0/16 }'",
    "nft delete element inet labrun ports '{ 22 : accept }'",
    "nft flush set inet labrun friends",
    "nft add table inet labrun '{ flags dormant; }'",
    "nft add table ip6 nat; nft delete table ip nat; nft add table ip nat",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_ruleset_is_led_back_to_how_it_was(tmp_path: Path, damage: str) -> None:
    done = shell(HEAD + SCENE + PUT_BACK, tmp_path, damage)
    before, damaged, after = ((tmp_path / name).read_text() for name in ("before", "damaged", "after"))
    assert before != damaged, done.stderr
    # A table that was put back stands last.
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    assert done.stdout == ""


def test_what_was_counted_is_no_difference(tmp_path: Path) -> None:
    script = 'asked=$1/asked; nft() { echo "$*" >>"$asked"; command nft "$@"; }\n' + PUT_BACK
    done = shell(
        HEAD + SCENE + script, tmp_path, "ip link set lo up; ping -c 1 -W 0.1 127.0.0.1 >/dev/null || :"
    )
    assert (tmp_path / "before").read_text() != (tmp_path / "damaged").read_text()
    assert done.stdout == ""
    assert "-f" not in (tmp_path / "asked").read_text()


def tables(text: str) -> dict[str, list[str]]:
    """Return the lines of each table of a listing."""
    blocks = text.removeprefix("table ").split("\ntable ")
    return {block.partition(" {")[0]: block.strip().splitlines() for block in blocks}


def test_a_table_that_nft_cannot_read_keeps_no_other_from_going_back(tmp_path: Path) -> None:
    """Of matches that only xtables has, nft lists no more than the name."""
    foreign = 'iptables-nft -A INPUT -m recent --set -j ACCEPT || exit 78\nnft_state >"$guard/nft"\n'
    damage = "iptables-nft -A INPUT -j DROP; nft flush chain inet labrun input; nft add table ip x"
    done = shell(HEAD + SCENE + foreign + PUT_BACK, tmp_path, damage)
    before, after = (tables((tmp_path / name).read_text()) for name in ("before", "after"))
    assert before.pop("ip filter") != after.pop("ip filter")
    assert after == before
    assert done.stdout == "another nftables ruleset\n"
