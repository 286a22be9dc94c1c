# Read the keys that sshd takes from the login user, from root, and from former login users.
# Values: login meant seed made most_others. Needs sshd_login, sshd_files, sshd_asked and keys_files. meant has the words
# of AuthorizedKeysFile by the lab file. The files of all other accounts are read too, of most_others at most.
nl='
'

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
# Sets value to a setting of sshd's, empty if it has none. No process is started for it. It goes line by line:
# for a pattern with a `*` in front, a shell would try every place of the text with all that follows.
setting() {
value=''
set -f
IFS=$nl
for setting_line in $settings; do
case $setting_line in "$1 "*) value=${setting_line#"$1 "}; break;; esac
done
unset IFS
set +f
}
# Sets entry to what the list of users says of a user.
entry_of() {
case $nl$entries in
*"$nl$1:"*) entry=$nl$entries entry=$1:${entry#*"$nl$1:"} entry=${entry%%"$nl"*};;
*) entry=$(getent passwd "$1");;
esac
}
# Whether any of the files is there.
has_files() {
files_there=1
set -f
IFS=$nl
for path in $files; do [ ! -f "$path" ] || files_there=0; done
unset IFS
set +f
return $files_there
}
# Whether an account of the system that nobody logs in to: with Match blocks, each costs a process of sshd's.
is_idle() {
[ -n "$blocks" ] || return 1
home=${1#*:*:*:*:*:} home=${home%%:*}
case ${1##*:} in */nologin | */false | */sync) [ ! -e "$home/.ssh" ];; *) return 1;; esac
}
keys_of() {
user=$1
entry_of "$user" || return
entry=${entry#*:*:} uid=${entry%%:*} home=${entry#*:*:*:} home=${home%%:*}
# Without Match blocks the answer is the same for everybody.
# shellcheck disable=SC2086 # options, as sshd was started with
if [ -z "$settings" ] || { [ -n "$blocks" ] && [ "$user" != "$login" ]; }; then settings=$(judge $with 2>&1); ended=$?; fi
[ $ended -eq 0 ] || { capture "keys-sshd $user" answered; return; }
setting authorizedkeysfile
files_in "$value"
files=$listed wanted='' done_paths=''
[ -z "$other" ] || { has_files && frame "keys-other $user yes"; } || return 0
[ -z "$meant" ] || [ "$user" != "$login" ] || { files_in "$meant"; wanted=$listed; }
state "keys-files $user" "$files"
[ -z "$wanted" ] || state "keys-meant $user" "$wanted"
while IFS= read -r path; do
case $nl$done_paths$nl in *"$nl$path$nl"*) continue;; esac
done_paths=$done_paths$nl$path
[ ! -f "$path" ] || capture "keys-in $user $path" cat "$path" </dev/null
done <<paths
$files
$wanted
paths
[ -z "$other" ] || return 0
setting trustedusercakeys
[ "$value" = none ] || frame "keys-ca $user $value"
setting authorizedkeyscommanduser
as=$value
setting authorizedkeyscommand
[ "${value:-none}" = none ] || ( printed_for "$value" )
}
settings=$sshd_settings ended=0 other=''
# Of the data of the first boot only what is public: the users, and the keys that labrun gave them.
first='' given=''
if [ -e "$seed" ]; then
seeded=$(sed -n -e 's/^- name: */user /p' \
-e "s/^ *- ['\"]\{0,1\}\(\(ssh-\|ecdsa-\|sk-\)[^ ]* [^ ]* \{0,1\}.*\)/key \1/p" "$seed")
while IFS= read -r line; do
case $line in user\ *) first="$first ${line#user }";; key\ *) given=$given${given:+$nl}${line#key };; esac
done <<seeded
$seeded
seeded
state keys-seed "$given"
fi
[ ! -e "$made" ] || while read -r line; do first="$first $line"; done <"$made"
# shellcheck disable=SC2086 # user names
set -- "$login" root $first
entries=$(getent passwd "$@")
asked=' '
for each; do
case $asked in *" $each "*) continue;; esac
asked="$asked$each "
keys_of "$each"
done
[ "$most_others" -eq 0 ] || while IFS= read -r entries; do
name=${entries%%:*}
case $name in '' | *[!A-Za-z0-9._+-]*) continue;; esac
case $asked in *" $name "*) continue;; esac
! is_idle "$entries" || continue
[ "$most_others" -gt 0 ] || { frame keys-more yes; break; }
most_others=$((most_others - 1)) other=yes asked="$asked$name "
keys_of "$name"
done </etc/passwd
