# Ask sshd once for the effective settings of this login; several facts come from the answer.
# Values: login. Sets: sshd_framed, the answer in its frame, and sshd_settings, empty if sshd gave none.
# Needs sshd_login and frames.
user="$login"
# shellcheck disable=SC2086 # options, as sshd was started with
sshd_framed=$(capture sshd judge $with)
sshd_settings=''
case $sshd_framed in *"
$m status sshd 0")
sshd_settings=${sshd_framed#*"$m out sshd
"}
sshd_settings=${sshd_settings%%"
$m "*};;
esac
