"""Which keys set which others: what labrun assumes against this kernel's namespaces."""

from __future__ import annotations

import subprocess

from labrun.tasks.guest.facts.sysctl import set_along

# For each key of all NICs that can be set, whether `default` and `ip_forward` follow it.
_SCRIPT = """\
cd /proc/sys/net || exit 1
for all in ipv4/conf/all/* ipv6/conf/all/*; do
  default=${all%%/all/*}/default/${all##*/}
  [ -w "$all" ] && [ -e "$default" ] || continue
  before=$(cat "$default" ipv4/ip_forward 2>/dev/null) was=$(cat "$all" 2>/dev/null) || continue
  case $was in 0) new=1;; 1) new=0;; *) continue;; esac
  echo "$new" 2>/dev/null >"$all" || continue
  after=$(cat "$default" ipv4/ip_forward 2>/dev/null)
  echo "$all" "$default" $before $after
  echo "$was" >"$all"
done
"""


def test_the_keys_that_set_others_are_those_of_the_kernel() -> None:
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", _SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    follows, tried = {}, {}
    for line in done.stdout.splitlines():
        written, default, default_was, forward_was, default_is, forward_is = line.split()
        for key, moved in (
            (default, default_was != default_is),
            ("ipv4/ip_forward", forward_was != forward_is),
        ):
            tried[written, key] = f"net/{written}" in set_along(f"net/{key}")
            follows[written, key] = moved
    assert len(tried) > 60, done.stderr
    # The kernel makes redirects follow forwarding too; labrun writes ip_forward first for that reason.
    assert follows == tried
