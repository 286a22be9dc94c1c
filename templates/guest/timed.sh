# Note when a step began and ended, in seconds since the boot. Needs room. Defines: timed.
timed() {
step=$1; shift
read -r step_began _ </proc/uptime
"$@"
read -r step_ended _ </proc/uptime
echo "$step $step_began $step_ended" >>"$tmp/took" 2>/dev/null
}
