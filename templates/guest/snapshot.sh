# The state of a host beyond its own settings: saved before a change, compared and restored after it.
# Sourced by the scripts that arm the guard and undo. $guard is its directory, $live the one in memory.

up_seconds() { read -r up up_rest </proc/uptime; up=${up%.*}; }

# Start the process that waits for the decision, as a separate unit that nothing stops: not a target, not a
# slice, not a request for another system state; if killed, it is restarted. New defaults of limits are not for it.
# Without systemd: a process in a session of its own, which starts it again, and which only SIGKILL ends. The mark
# of the change is not for it: whatever has that is killed before the rollback.
start_watch() {
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
# shellcheck disable=SC2016 # for the shell that is started
env -u LABRUN_CHANGE setsid /bin/sh -c 'trap "" HUP INT TERM; cd /; echo -1000 >/proc/self/oom_score_adj
while [ -d "$1" ]; do /bin/sh "$1/undo" && exit; sleep 1; done' labrun-guard "$guard" </dev/null >/dev/null 2>&1 &
return
fi
systemd-run --quiet --collect --unit="labrun-guard-$run" --slice=-.slice --property=DefaultDependencies=no \
--property=IgnoreOnIsolate=yes --property=RefuseManualStop=yes --property=Restart=on-failure --property=RestartSec=1 \
--property=StartLimitIntervalSec=0 --property=OOMScoreAdjust=-1000 --property=TimeoutStopSec=2 \
--property=TasksMax=infinity --property=MemoryMax=infinity \
/bin/sh "$guard/undo"
}

# --- Links, addresses, routes and rules -----------------------------------------------------------------------

# Everything that one process can list; batch mode skips an empty line.
ip_state() {
ip -o -batch - <<END
link show
address show
route show table all
neigh show nud permanent
${1-}
END
}

# With the policy rules, if those are guarded too; a batch only lists those of IPv4.
net_state() {
if [ -z "$rules" ]; then ip_state; return; fi
ip_state 'rule show'
rules6=$(ip -o -6 rule show 2>/dev/null) || :
while IFS= read -r rules6_line; do
[ -z "$rules6_line" ] || printf 'rule6 %s\n' "$rules6_line"
done <<END
$rules6
END
}

# --- nftables -------------------------------------------------------------------------------------------------

nft_state() { nft -s list ruleset; }

# --- sshd -----------------------------------------------------------------------------------------------------

# Tell whether sshd answers on this address and port: one that is frozen, or may start no process, still listens.
way_greets() { [ -n "$(timeout 10 ssh-keyscan -T 8 -p "$2" "$1" 2>/dev/null)" ]; }

# --- Kernel parameters ----------------------------------------------------------------------------------------

# Writable values below these folders, as PATH:VALUE, without those that the kernel keeps changing. Of several
# lines only the first: that is a table, not a value that could be set.
kernel_state() {
grep -rsm1 '' --exclude-dir=random --exclude-dir=binfmt_misc --exclude=flush --exclude=stat_refresh \
--exclude=compact_memory --exclude=drop_caches --exclude=ns_last_pid --exclude='perf_*' --exclude='hung_task_*' \
--exclude=tainted "$@" | while IFS= read -r kernel_line; do
[ ! -w "${kernel_line%%:*}" ] || printf '%s\n' "$kernel_line"
done
}

# The values on each interface that follow `all` or `default`: only parameters with these names are affected.
# The builtin `read` takes a byte at a time, and a second read of a parameter returns nothing.
kernel_spread() {
set --
while read -r spread_name; do
for spread_file in "/proc/sys/net/ipv4/$spread_name" /proc/sys/net/ipv[46]/conf/*/"$spread_name"; do
[ ! -w "$spread_file" ] || set -- "$@" "$spread_file"
done
done <"$guard/spread"
[ $# -eq 0 ] || grep -Hsm1 '' "$@" || :
}

kernel_now() { if [ -e "$guard/spread" ]; then kernel_spread; else kernel_state /proc/sys; fi; }
