# Let keys log in as a user, who is made if need be, and print the host key.
# Values: user keys given users. keys has the lab's own and those of people, one a line. Needs keys_files
# and keys_apply.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
mkdir -p "${given%/*}" /run/sshd
absent_in() {
printf '%s\n' "$keys" | while IFS= read -r key; do
grep -qxF -e "$key" "$1" 2>/dev/null || printf '%s\n' "$key"
done
}
if ! getent passwd "$user" >/dev/null; then
useradd --create-home --shell /bin/bash --comment labrun "$user"
printf '%s\n' "$user" >>"$users"
fi
entry=$(getent passwd "$user")
case ${entry##*:} in */nologin | */false) echo "$user has the shell ${entry##*:}, so no login is possible"; exit 1;; esac
if [ "$user" != root ] && ! sudo -l -U "$user" 2>/dev/null | grep -q 'NOPASSWD: ALL'; then
rule=/etc/sudoers.d/91-labrun-$user
( umask 337; printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >"$rule.new" )
mv "$rule.new" "$rule"
fi
home=${entry%:*} home=${home##*:} uid=${entry#*:*:} uid=${uid%%:*}
settings=$(sshd -T -C "user=$user,host=localhost,addr=127.0.0.1" 2>/dev/null) || settings=
files_in "$(printf '%s\n' "$settings" | sed -n 's/^authorizedkeysfile //p')"
file=${listed%%
*}
[ -n "$file" ] || file=$home/.ssh/authorized_keys
put_keys "$user" "$file" '' "$(absent_in "$file")"
# What is in this file is known later for something that labrun put there.
new=$(absent_in "$given")
[ -z "$new" ] || printf '%s\n' "$new" >>"$given"
# A login that sshd would refuse anyway is not worth waiting for.
if [ "$user" = root ] && printf '%s\n' "$settings" | grep -qx 'permitrootlogin no'; then
echo 'sshd does not let root in, even with a key (PermitRootLogin no)'; exit 1
fi
allowed=$(printf '%s\n' "$settings" | sed -n 's/^allowusers //p')
if [ -n "$allowed" ] && ! printf '%s\n' "$allowed" | grep -qx -e "$user" -e '.*[*?@].*'; then
# shellcheck disable=SC2086 # one a line
echo "sshd lets in only" $allowed "(AllowUsers)"; exit 1
fi
cat /etc/ssh/ssh_host_ed25519_key.pub
