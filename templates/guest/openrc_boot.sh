# What a boot of OpenRC starts, by its own reckoning, and what init runs for that. Values: guard.
# Needs openrc_services. Defines: by_runlevels openrc_vital openrc_calls.
by_runlevels() { [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; }

openrc_depend() {
for depend_folder in /lib/rc/bin /usr/lib/rc/bin /usr/libexec/rc/bin /libexec/rc/bin; do
[ ! -x "$depend_folder/rc-depend" ] || { timeout 60 "$depend_folder/rc-depend" -q "$@" 2>/dev/null; return; }
done
return 127
}

# Print the services of a runlevel; a folder in it is a runlevel that is stacked on it.
openrc_level() (
for each in "/etc/runlevels/$1"/*; do
if [ -d "$each" ]; then [ "$2" = 0 ] || openrc_level "${each##*/}" $(($2 - 1))
elif [ -x "$each" ]; then echo "${each##*/}"
fi
done
)

# The services that a login needs, in the words of `systemctl show`: enabled is what OpenRC would start, for itself
# or for another service. Needs= names what they need, Missing= what of that does not exist. With -u OpenRC reads
# all scripts again before.
openrc_vital() {
vital_levels=$(openrc_level sysinit 5; openrc_level boot 5; openrc_level default 5)
# shellcheck disable=SC2086 # names of services
vital_order=$(openrc_depend ${1-} -s -a $vital_levels) || vital_order=
vital_tree=/run/openrc/deptree
[ -r "$vital_tree" ] || vital_tree=/dev/null
openrc_services NetworkManager dbus ssh sshd networking >"$guard/services-of-login"
awk -v levels="$vital_levels" -v order="$vital_order" '
BEGIN { n = split(order, each); for (i = 1; i <= n; i++) starts[each[i]] = 1; known = n
  n = split(levels, each); for (i = 1; i <= n; i++) listed[each[i]] = 1 }
function closure(id, k) {
  if (id in met) return
  met[id] = 1
  missing = missing " " broken[id]
  n_of = split(needs[id], kept)
  for (k = 1; k <= n_of; k++) queue[++queued] = kept[k]
}
function told(id, k) {
  split("", met); split("", queue); queued = 0; missing = ""; all = ""
  closure(id)
  for (k = 1; k <= queued && k < 200; k++) { if (!(queue[k] in met)) all = all " " queue[k]; closure(queue[k]) }
  print "Needs=" substr(all, 2); gsub(/  */, " ", missing); sub(/^ /, "", missing); sub(/ $/, "", missing); print "Missing=" missing
}
FILENAME == ARGV[1] {
  if (match($0, /^depinfo_[0-9]+_/)) {
    number = substr($0, 1, RLENGTH); rest = substr($0, RLENGTH + 1)
    value = rest; sub(/^[^=]*=/, "", value); gsub(/\047/, "", value)
    if (rest ~ /^service=/) name[number] = value
    else if (rest ~ /^ineed_/) needs[name[number]] = needs[name[number]] " " value
    else if (rest ~ /^broken_/) broken[name[number]] = broken[name[number]] " " value
  }
  next
}
/^Id=/ { id = substr($0, 4) }
/^LoadState=/ { there = $0 == "LoadState=loaded" }
/^UnitFileState=/ && there {
  if (known) print "UnitFileState=" (id in starts ? "enabled" : id in listed ? "ruled out by a keyword" : "disabled")
  else print
  told(id); next
}
{ print }' "$vital_tree" "$guard/services-of-login"
}

# Print which runlevels init has OpenRC start, and which NICs the service of the network brings up: their commands
# run with programs that only note how they are called. With "before" by the files of before the change.
openrc_calls() {
# ifquery is a link to ifup, and brings nothing up.
# shellcheck disable=SC2016 # for the program
printf '#!/bin/sh\ncase ${0##*/} in openrc | ifup) echo "${0##*/} $*" >>%s;; esac\n' "$guard/calls" >"$guard/noting"
chmod 755 "$guard/noting"
: >"$guard/calls"
# shellcheck disable=SC2016 # for the other shell
unshare --mount --propagation private sh -c '
[ "$2" != before ] || mount --bind /etc/.labrun-tree /etc || exit
for each in openrc ifup; do
for folder in /sbin /usr/sbin; do
# A link would lead to a program that is many others too.
[ -L "$folder/$each" ] || [ ! -x "$folder/$each" ] || mount --bind "$1/noting" "$folder/$each" || exit
done
done
cd /
awk -F : "/^[ \t]*#/ { next } \$3 == \"initdefault\" { level = \$2 } { line[++n] = \$0 }
END { for (i = 1; i <= n; i++) {
split(line[i], part, \":\"); process = line[i]; sub(/^[^:]*:[^:]*:[^:]*:/, \"\", process)
if (part[3] ~ /^(sysinit|boot|bootwait)\$/ || (part[3] ~ /^(wait|once)\$/ && (part[2] == \"\" || index(part[2], level)))) print process
} }" /etc/inittab | while read -r program words; do
case $program in
*/openrc) ;;
/etc/*) grep -q openrc "$program" || continue;;
*) continue;;
esac
# shellcheck disable=SC2086 # as init does
timeout 20 "$program" $words
done
[ ! -x /etc/init.d/networking ] || timeout 20 /etc/init.d/networking start
' sh "$guard" "$1" >/dev/null 2>&1 </dev/null
cat "$guard/calls"
}
