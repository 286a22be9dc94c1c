# Enable, disable, start and stop units. Values: patience. Defines: set_unit stays_up bad.
# OpenRC is told the same in its own words; a runlevel is named there for what is to start at boot.
if [ -d /run/systemd/system ] || ! command -v rc-service >/dev/null; then
unit_command() { timeout "$patience" systemctl "$@"; }
unit_is_active() { systemctl is-active "$1"; }
unit_words() { echo "systemctl $1"; }
else
unit_command() {
case $1 in
enable) timeout "$patience" rc-update --quiet add "$2" default;;
# `rc-update --all delete` fails for each runlevel that lacks the service.
disable) for unit_level in /etc/runlevels/*/"$2"; do
[ ! -h "$unit_level" ] || { unit_level=${unit_level%/*}; timeout "$patience" rc-update --quiet delete "$2" "${unit_level##*/}" || return; }
done;;
*) timeout "$patience" rc-service --quiet --nocolor "$2" "$1";;
esac
}
unit_is_active() { rc-service --quiet "$1" status >/dev/null 2>&1 && return 0; echo 'not running'; return 3; }
unit_words() { case $1 in enable) echo 'rc-update add';; disable) echo 'rc-update delete';; *) echo "rc-service $1";; esac; }
fi
set_unit() {
name=$1; shift
said=$(unit_command "$@" 2>&1) && return 0
said=$(printf '%s\n' "$said" | sed -n '/./{p;q}')
echo "$name: $(unit_words "$1"): ${said:-no answer in $patience s}"; bad=1; return 1
}
stays_up() {
state=$(unit_is_active "$2" 2>&1) || { echo "$1: it was started but is $state"; bad=1; }
}
bad=0
