# The session's addresses and ports. sudo hides them from the script, but has them in its environment. Needs frames.
came() {
[ -n "${SSH_CONNECTION-}" ] && printf '%s\n' "$SSH_CONNECTION" && return
tr '\0' '\n' <"/proc/$PPID/environ" | sed -n 's/^SSH_CONNECTION=//p'
}
capture came came
