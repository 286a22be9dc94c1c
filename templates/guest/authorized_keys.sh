# Read the keys that sshd takes from the login user, from root, and from former login users.
# Values: login meant seed made main. Needs sshd_login,
# sshd_files and keys_files. meant has the words of AuthorizedKeysFile by the lab file.

# The keys that a command prints for a user, if it is asked about the user and not about each key.
printed_for() {
words=
set -f
for each in $1; do
expand "$each" || { frame "keys-by-key $user $1"; return; }
words="$words $expanded"
done
# shellcheck disable=SC2086 # a command and its arguments, which sshd splits too
set -- $words
[ $# -gt 1 ] || set -- "$@" "$user"
capture "keys-printed $user $1" timeout 10 runuser -u "$as" -- "$@"
}
answered() { printf '%s\n' "$settings"; return "$ended"; }
setting() { printf '%s\n' "$settings" | sed -n "s/^$1 //p"; }
keys_of() {
user=$1
entry=$(getent passwd "$user") || return
entry=${entry#*:*:} uid=${entry%%:*} home=${entry#*:*:*:} home=${home%%:*}
# Without Match blocks the answer is the same for everybody.
# shellcheck disable=SC2086 # options, as sshd was started with
if [ -z "$settings" ] || [ -n "$blocks" ]; then settings=$(judge $with 2>&1); ended=$?; fi
[ $ended -eq 0 ] || { capture "keys-sshd $user" answered; return; }
files=$(files_in "$(setting authorizedkeysfile)")
wanted=
[ -z "$meant" ] || [ "$user" != "$login" ] || wanted=$(files_in "$meant")
capture "keys-files $user" printf '%s\n' "$files"
[ -z "$wanted" ] || capture "keys-meant $user" printf '%s\n' "$wanted"
printf '%s\n%s\n' "$files" "$wanted" | sort -u | while IFS= read -r path; do
[ ! -f "$path" ] || capture "keys-in $user $path" cat "$path"
done
[ "$(setting trustedusercakeys)" = none ] || frame "keys-ca $user $(setting trustedusercakeys)"
command=$(setting authorizedkeyscommand) as=$(setting authorizedkeyscommanduser)
[ "${command:-none}" = none ] || ( printed_for "$command" )
}
settings='' ended=0
# shellcheck disable=SC2086 # files
blocks=$(grep -ils '^[[:space:]]*match[[:space:]=]' $sshd_files)
# Of the data of the first boot only what is public: the users, and the keys that labrun gave them.
first=$({ sed -n 's/^- name: *//p' "$seed"; cat "$made"; } 2>/dev/null)
[ ! -e "$seed" ] || capture keys-seed sed -n "s/^ *- ['\"]\{0,1\}\(\(ssh-\|ecdsa-\|sk-\)[^ ]* [^ ]* \{0,1\}.*\)/\1/p" "$seed"
# shellcheck disable=SC2086 # user names
for each in $(printf '%s\n' "$login" root $first | awk '!seen[$0]++'); do keys_of "$each"; done
