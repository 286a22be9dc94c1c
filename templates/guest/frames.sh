# What begins every script: frames around its output. Values: m. Defines: frame capture state.
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
frame() { printf '\n%s %s\n' "$m" "$*"; }
# Run a command and frame its stdout, stderr and status. The process forked for it becomes the command itself.
capture() {
n=$1; shift; frame out "$n"
{ errors=$("$@" 2>&1 >&3 3>&-); ended=$?; } 3>&1
[ -z "$errors" ] || { frame err "$n"; printf '%s\n' "$errors"; }
frame status "$n" $ended
}
# Frame a text as the output of a command that succeeded. No process is started for it.
state() { frame out "$1"; printf '%s\n' "$2"; frame status "$1" 0; }
