# Let a key log in, and print the host key. Values: user key.
set -eu
home=$(getent passwd "$user" | cut -d: -f6)
mkdir -p "$home/.ssh"; chmod 700 "$home/.ssh"
grep -qxF "$key" "$home/.ssh/authorized_keys" 2>/dev/null || printf '%s\n' "$key" >>"$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"; chown -R "$user:" "$home/.ssh"
cat /etc/ssh/ssh_host_ed25519_key.pub
