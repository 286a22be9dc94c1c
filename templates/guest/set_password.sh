# Give an account the password that its console login takes. Values: user password.
set -eu
printf '%s:%s\n' "$user" "$password" | chpasswd
passwd -u "$user" >/dev/null 2>&1 || :
