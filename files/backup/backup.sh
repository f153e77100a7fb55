#!/bin/sh
# A backup of the hub: one file, encrypted to public keys, so that this host can't read it.
#   backup.sh           make one; `make backup` and a timer have systemd run it
#   backup.sh newest    when the newest was made (seconds since 1970), its bytes, who signs here, its path
set -eu
umask 077
export LC_ALL=C # what programs say is read below
folder={{ folder }}
work={{ work }}
name={{ name }} # of the hub

# <3>: how the journal knows an error.
fail() { echo "<3>backup: $1" >&2; exit 1; }

room() { # in folder $1 for $2 kB
    free=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -gt $(($2 + {{ reserve_kb }})) ] ||
        fail "$1 has $((free / 1024)) MB free, this one needs $(($2 / 1024)) and leaves {{ reserve_kb // 1024 }}; make room, or lower backup_keep"
}

# The host's own SSH key, which the admin's machine knows, says who made it: anybody can encrypt to a public key.
for key in ed25519 ecdsa rsa; do
    key=/etc/ssh/ssh_host_${key}_key
    [ ! -f "$key" ] || break
done
signer=$(ssh-keygen -lf "$key.pub" 2>/dev/null | cut -d' ' -f2) || fail "$key can't be read; this host has no SSH key to sign with"

if [ "${1-}" = newest ]; then
    set -- "$folder/${name}_"*.age
    while [ $# -gt 1 ]; do shift; done # their names are in the order of time
    [ ! -e "$1" ] || stat -c "%Y %s $signer %n" "$1"
    exit
fi

new=
trap 'rm -rf "$work" "$new"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$work" "$folder/.$name".* # of a run that was killed
mkdir -p "$work/archive" || fail "$work can't be made; is the disk full?"
if [ "$folder" = {{ own_folder }} ]; then mkdir -p "$folder" 2>/dev/null || true; fi
new=$(mktemp "$folder/.$name.XXXXXX" 2>/dev/null) ||
    fail "$folder can't be written; mount it, or choose another backup_folder"
cd "$work"

docker exec {{ database }} dump >database.dump || fail "the database gives no dump; see docker logs {{ database }}, and deploy"
cp -a {{ secrets }} secrets
cp {{ tls }}/tls.crt {{ tls }}/tls.key {{ backup }}/settings.json {{ backup }}/about .
printf 'name %s\nmade %s\n' "$name" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >>about
# Links, where one disk holds both: an archive that expires meanwhile is whole all the same, or left out.
if [ "$(stat -c %d {{ archive }})" = "$(stat -c %d archive)" ]; then
    links=l
else
    links=
    room "$work" "$(du -sk {{ archive }} | cut -f1)"
fi
cp -a$links {{ archive }}/. archive 2>archive.said || ! grep -v 'No such file or directory$' archive.said >&2 ||
    fail "the archives can't be read; see the lines above"
for one in archive/*; do
    if [ ! -f "$one/about.json" ] || [ ! -f "$one/home.tar.gz" ]; then rm -rf "$one"; fi
done

room "$folder" "$(du -sk --apparent-size . | cut -f1)"

# Only what the restore takes. What else lies beside the secrets, or the hub has put beside archives, stays out.
list() {
    printf '%s\0' settings.json tls.crt tls.key database.dump
    for one in {{ secret_names }}; do [ ! -f "secrets/$one" ] || printf '%s\0' "secrets/$one"; done
    find archive -regextype posix-extended -regex '{{ archived }}' -type f -print0
    printf '%s\0' about # last: where it is, all is
}
mkfifo stream
# tar's 1: a file changed while it was read. The signature follows the tar, which ends before it.
{
    sha256sum <stream >digest &
    { list | tar --create --hard-dereference --numeric-owner --no-recursion --null --files-from - 2>tar.said || [ $? = 1 ] || head -n1 tar.said >failed; } | tee stream
    wait
    ssh-keygen -q -Y sign -f "$key" -n {{ namespace }} <digest 2>sign.said || echo "ssh-keygen: $(tail -n1 sign.said)" >failed
} | age --encrypt --recipients-file {{ recipients }} >"$new" 2>age.said || echo "$(tail -n1 age.said)" >failed
[ ! -e failed ] || fail "it could not be written to $folder: $(cat failed)"

sync "$new"
# Whoever has no key tells by the name whether the file is whole.
file=${name}_$(date -u +%Y%m%dT%H%M%SZ)_$(sha256sum "$new" | cut -c1-16).age
mv "$new" "$folder/$file"
sync "$folder"
echo "backup: $folder/$file, $(stat -c %s "$folder/$file") bytes, signed by $signer"

set -- "$folder/${name}_"*.age
while [ $# -gt {{ keep }} ]; do
    rm -f -- "$1"
    shift
done
