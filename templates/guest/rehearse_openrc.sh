# What rehearse.sh does with units, for services of OpenRC. Defines: rehearse_openrc has_changed. Values: guard.
# Needs openrc_boot, openrc_sshd, needs_state (vital) and is_other (rehearse).
has_changed() {
# diff does not see that a script may no longer be run.
is_other "$1" || [ "$(stat -c %a "/etc/.labrun-tree/$1" 2>/dev/null)" != "$(stat -c %a "/etc/$1" 2>/dev/null)" ]
}
rehearse_openrc() {
for openrc_each in conf.d init.d rc.conf rc.conf.d; do
has_changed "$openrc_each" || continue
openrc_vital -u >"$guard/vital-now"
# What a login needs from now on has to start now: the next boot would wait for it, or fail with it.
needs_state vital-now >"$guard/needs-now"
LC_ALL=C comm -13 "$guard/needs" "$guard/needs-now" | while IFS= read -r openrc_name; do
# What is missing has no script; `net` and the like are no services of their own.
[ -x "/etc/init.d/$openrc_name" ] || continue
timeout 30 rc-service --quiet "$openrc_name" start </dev/null || echo "$openrc_name" >>"$guard/needs-failed"
done
break
done
for openrc_each in inittab init.d/rc init.d/rcS init.d/networking default/networking conf.d/networking; do
has_changed "$openrc_each" || continue
openrc_calls before >"$guard/calls-before"
openrc_calls now >"$guard/calls-now"
break
done
for openrc_name in ssh sshd; do
# Whether it ran before: a script that is broken now cannot tell.
grep -q "^$openrc_name " "$guard/units" || continue
for openrc_each in "conf.d/$openrc_name" "init.d/$openrc_name" "default/$openrc_name" rc.conf rc.conf.d ssh/sshd_not_to_be_run; do
has_changed "$openrc_each" || continue
echo "$openrc_name" >>"$guard/rehearsed"
openrc_sshd "$openrc_name"
break
done
done
}
