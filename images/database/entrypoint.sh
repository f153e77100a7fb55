#!/bin/sh
# Makes the cluster if the volume is empty, sets the role's password, then becomes the server.
set -eu

volume=/var/lib/postgresql/data
data=$volume/pgdata
config=/etc/postgresql/postgresql.conf
major=$(basename "$(dirname "$(dirname "$(readlink -f "$(command -v initdb)")")")")

fail() { echo "database: $1" >&2; exit 1; }

# SQL on standard input, one statement a line, by a server that listens nowhere and ends with its input.
# Last in a pipe, and exec: it has to be a child of PID 1, whose number a killed server left in
# postmaster.pid. PostgreSQL takes that for a live server unless it is itself or its parent.
single() { exec postgres --single -c config_file="$config" -c exit_on_error=on -D "$1" "$2" >/dev/null; }

# A value as an SQL literal or identifier.
quote() { printf "%s%s%s" "$1" "$(printf %s "$2" | sed "s/$1/$1$1/g")" "$1"; }

# PID 1 has no default action for signals; the server that replaces this shell brings its own.
trap 'exit 143' INT TERM

[ -w "$volume" ] || fail "$volume is not writable for uid $(id -u); the volume must belong to 65603:65600"
[ -r /run/secrets/database_password ] || fail "cannot read /run/secrets/database_password as gid $(id -g)"
password=$(cat /run/secrets/database_password)
[ -n "$password" ] || fail "/run/secrets/database_password is empty"
role=$(quote '"' "$POSTGRES_USER")
database=$(quote '"' "$POSTGRES_DB")

# A start writes again what the last moments left. Without room for that the server would end, and Docker
# wait longer each time before the next try: up to a minute, when there has long been room.
free_mb() { df -m --output=avail "$volume" | tail -n 1 | tr -d ' '; }
until [ "$(free_mb)" -ge 40 ]; do
    [ -n "${waits:-}" ] || echo "database: waits, for less than 40 MB are free on its volume; make room" >&2
    waits=yes
    sleep 1
done

# Built beside its place and renamed, so that a kill at any moment leaves a whole cluster or none.
rm -rf "$data.new"
if [ ! -e "$data" ]; then
    initdb -D "$data.new" -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=reject >/dev/null
    printf '%s\n' "CREATE ROLE $role LOGIN" "CREATE DATABASE $database OWNER $role" | single "$data.new" postgres
    mv "$data.new" "$data"
    sync "$volume"
    echo "database: made a new PostgreSQL $major cluster"
fi

have=$(cat "$data/PG_VERSION" 2>/dev/null) || fail "$data exists but holds no PostgreSQL cluster (no PG_VERSION); restore a backup or empty the volume"
[ "$have" = "$major" ] || fail "the volume holds data of PostgreSQL $have, this image is PostgreSQL $major; deploy: that brings it over"

printf '%s\n' "ALTER ROLE $role LOGIN PASSWORD $(quote "'" "$password")" | single "$data" postgres \
    || fail "cannot set the password of role $POSTGRES_USER; see the lines above"

exec postgres -c config_file="$config" -D "$data" "$@"
