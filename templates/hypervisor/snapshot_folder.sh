# Make an empty folder for a snapshot's files. What is at either path is of a run that was killed, and goes.
# Values: lab, part, folder.
rm -rf -- "$part" "$folder"
umask 077
mkdir -p "$lab"
chmod 700 "$lab"
mkdir -m 700 "$part"
