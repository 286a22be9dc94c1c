# Enable, disable, start and stop units. Values: patience. Defines: set_unit stays_up bad.
set_unit() {
name=$1; shift
said=$(timeout "$patience" systemctl "$@" 2>&1) && return 0
said=$(printf '%s\n' "$said" | sed -n '/./{p;q}')
echo "$name: systemctl $1: ${said:-no answer in $patience s}"; bad=1; return 1
}
stays_up() {
state=$(systemctl is-active "$2" 2>&1) || { echo "$1: it was started but is $state"; bad=1; }
}
bad=0
