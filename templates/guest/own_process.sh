# This shell's process, and when it began. Not $$: a shell may run this as one of several, each in a process of its own.
read -r self </proc/self/stat
# shellcheck disable=SC2086 # the fields after the name
set -- ${self##*") "}
self_start=${20}
