#!/bin/sh
# Hands the services over from one release to the next, and back.
#   run        have a service's container run as standard input defines it (Service.definition)
#   keep ID    what runs is release ID; its record lies in .new, its files' paths come by standard input
#   back ID    what ran as release ID is to run again
# What is replaced stands aside as NAME-previous, stopped, until all of the new release is healthy.
# Who must set more right than containers and files before the services of before run again, leaves
# a program in undo/: it runs with the word `before`, when nothing of before is back yet, and with
# `after`, when the database is, and no other service.
set -eu
releases='{{ releases }}'
names='{{ names | join(" ") }}' # in the order in which they start
database='{{ database }}'
carry='{{ carry }}'
digest_label='{{ digest_label }}'
firewall='{{ firewall }}'
firewall_unit='{{ firewall_unit }}'
units='{{ units }}'
prefix='{{ prefix }}'
{{ keep_log }}
{% raw %}
trap '' PIPE # to the end, also when nobody listens any more: a controller may be killed
exec 9>/run/lock/integrable-jupyterhub-release
flock 9

of() { docker container inspect -f "$2" "$1" 2>/dev/null || true; }
has() { docker container inspect "$1" >/dev/null 2>&1; }
current() { basename "$(readlink "$releases/current" 2>/dev/null || echo none)"; }

# Under load runc now and then loses the process it has just made ("read init-p: connection reset
# by peer"), and succeeds when asked again.
start() {
    docker container start "$1" >/dev/null 2>&1 || docker container start "$1" >/dev/null 2>&1 ||
        docker container start "$1" >/dev/null
}

# Not Docker's own health: its first probe comes late, and engines before 25 have no way to ask more
# often at the start only.
serves() { docker exec "$1" sh -c "$(of "$1" '{{index .Config.Healthcheck.Test 1}}')" >/dev/null 2>&1; }

becomes_healthy() {
    end=$(($(date +%s) + $(of "$1" '{{printf "%d" .Config.Healthcheck.StartPeriod}}') / 1000000000))
    crashes=$(of "$1" '{{.RestartCount}}') # since it was made, which may be long ago
    until serves "$1"; do
        [ "$(date +%s)" -lt $end ] && [ "$(of "$1" '{{.RestartCount}}')" -lt $((crashes + 3)) ] || return 1
        sleep 0.2
    done
}

stand_aside() {
    docker container stop "$1" >/dev/null
    keep_log "$1" "$1"
    if has "$1-previous"; then # then this one is of a run that was killed: nobody knows that it is good
        docker container rm --force "$1" >/dev/null
    else
        docker container update --restart no "$1" >/dev/null
        docker container rename "$1" "$1-previous"
    fi
}

digest() {
    files=$(cat -- $mounted /dev/null 2>/dev/null | sha256sum | cut -c 1-64)
    printf '%s %s %s' "$specification" "$(docker image inspect -f '{{.Id}}' "$image")" "$files" |
        sha256sum | cut -c 1-16
}

run() { # what was read defines name, image, specification, mounted, create
    eval "$1"
    wanted=$(digest)
    if ! has "$name"; then
        action=create
    elif [ "$(of "$name" "{{index .Config.Labels \"$digest_label\"}}")" != "$wanted" ]; then
        action=create
    elif [ "$(of "$name" '{{.State.Running}} {{.State.Health.Status}}')" = 'true unhealthy' ]; then
        action=stop
    else
        action=start
    fi
    said=$("$carry" over "$name" "$image" 2>&1) || failed "$name" "$said"
    [ -z "$said" ] || echo "$said" >&2 || true
    [ $action != create ] || ! has "$name" || stand_aside "$name"
    said=$(
        case $action in
        create) create "$wanted" >/dev/null ;;
        stop) docker container stop "$name" >/dev/null ;;
        esac 2>&1 && start "$name" 2>&1
    ) || failed "$name" "$said"
    becomes_healthy "$name" || failed "$name" ''
}

failed() {
    log=$(docker logs --tail 20 "$1" 2>&1 || true)
    why="did not become healthy"
    [ -z "$2" ] || { log=$2; why="did not start"; }
    last=$(printf '%s\n' "$log" | grep . | tail -n 1 | cut -c 1-300)
    stood=
    for name in $names; do has "$name-previous" && stood="$stood $name"; done
    if [ "$stood" ]; then
        (umask 077; mkdir -p "$releases"; docker logs "$1" >"$releases/failed.log" 2>&1 || true)
        give_back
        told="$why: $last; $back; its whole log: $releases/failed.log"
    else
        told="$why, its last lines are above; \`docker logs $1\` on the host has all"
    fi
    printf '%s\n' "$log" "$1: $told" >&2 || true
    exit 1
}

give_back() {
    for name in $stood; do
        docker container stop "$name" >/dev/null 2>&1 || true
        keep_log "$name" "$name"
        docker container rm --force "$name" >/dev/null 2>&1 || true
    done
    restore "$(current)"
    bad=
    undo before || bad=" undo"
    for name in $names; do
        if has "$name-previous"; then
            docker container rename "$name-previous" "$name"
            docker container update --restart unless-stopped "$name" >/dev/null
            start "$name" && becomes_healthy "$name" || bad="$bad $name"
        fi
        [ "$name" != "$database" ] || undo after || bad="$bad undo"
    done
    back="back to release $(current): as before run$stood"
    [ -z "$bad" ] || back="$back; not healthy even so:$bad"
}

undo() {
    for program in "$releases"/undo/*; do
        [ ! -x "$program" ] || "$program" "$1" >/dev/null || return 1
    done
}

# --- Records -------------------------------------------------------------------------------------
restore() { # the files of release $1, and none that only the current one has
    record=$releases/$1/files
    [ -d "$record" ] || return 0
    changed=
    for path in $(cd "$record" && find . -type f -printf '/%P\n'); do
        cmp -s "$record$path" "$path" &&
            [ "$(stat -c '%a %u %g' "$record$path")" = "$(stat -c '%a %u %g' "$path")" ] && continue
        (umask 022; mkdir -p "${path%/*}")
        cp -p "$record$path" "$path.new"
        mv "$path.new" "$path"
        changed="$changed $path"
    done
    for path in $(cd "$releases/current/files" 2>/dev/null && find . -type f -printf '/%P\n'); do
        [ ! -e "$record$path" ] && [ -e "$path" ] || continue
        case $path in "$units"/*.*) systemctl disable -q --now "${path##*/}" 2>/dev/null || true ;; esac
        rm -f "$path"
        changed="$changed $path"
    done
    case $changed in *" $units/"*) systemctl daemon-reload ;; esac
    for path in $changed; do
        case $path in
        "$units"/*.timer | "$units"/*.path)
            [ ! -e "$path" ] || { systemctl enable -q "${path##*/}" && systemctl restart "${path##*/}"; } || true
            ;;
        esac
    done
    case $changed in *" $firewall/"*) systemctl reload-or-restart "$firewall_unit" || true ;; esac
}

settle() {
    for name in $names; do
        ! has "$name-previous" || docker container rm --force "$name-previous" >/dev/null
    done
    rm -rf "$releases/undo"
    date +%s >"$releases/$1/since"
    ln -sfn "$1" "$releases/current.new"
    mv -T "$releases/current.new" "$releases/current"
}

case $1 in
run) run "$(cat)" ;;
keep)
    for name in $names; do becomes_healthy "$name" || failed "$name" ''; done
    record=$releases/.new
    while read -r path; do
        mkdir -p "$record/files${path%/*}" # not `cp --parents`: with -p it fails in coreutils 9.1
        cp -p "$path" "$record/files$path"
    done
    date +%s >"$record/made"
    rm -rf "${releases:?}/$2"
    mv "$record" "$releases/$2"
    settle "$2"
    ;;
back)
    for name in $names; do # before anything is touched: the database may know too much for it
        (eval "$(cat "$releases/$2/services/$name")" && "$carry" may "$name" "$image") || exit 1
    done
    while read -r key reference id; do
        case "$key $reference" in
        "images $prefix"base:*) ;; # nothing runs from it
        "images $prefix"*) docker image tag "$id" "$reference" ;;
        esac
    done <"$releases/$2/about"
    restore "$2"
    for name in $names; do
        run "$(cat "$releases/$2/services/$name")"
    done
    settle "$2"
    ;;
esac
{%- endraw %}
