# Run the function `lines` until its first error, and frame its output as the section $1. Needs frames.
# The shell collects the output itself: with the session gone, a command that prints must not fail halfway.
section() {
said=$(set -e; exec 2>&1; lines)
status=$?
frame out "$1"
printf '%s\n' "$said"
frame status "$1" $status
}
