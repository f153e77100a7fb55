# Removes what this project made on a host, and nothing else; as often as you like.
#   mode=list     says what that is, a line each, and what stays ("stays: …")
#   mode=remove   removes it
# daemon=same|restore|remove|replace: what becomes of daemon.json; replace: by standard input.
# backups=keep|remove
# buildx would leave notes of its own in root's home, even where it is only asked.
BUILDX_CONFIG=$(mktemp -d)
export BUILDX_CONFIG
trap 'rm -rf "$BUILDX_CONFIG"' EXIT
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive
before={{ before }} failed=0
[ -d {{ etc }} ] || [ -d $before ] || daemon=same # nothing of ours is there: it is somebody else's

# thing WHAT COMMAND…: says what there is, or removes it.
thing() {
    what=$1; shift
    if [ "$mode" = list ]; then echo "$what"; return; fi
    "$@" >/dev/null || { echo "not removed: $what" >&2; failed=1; }
}
{% include "uninstall/functions.sh" %}
stays() { [ "$mode" = remove ] || echo "stays: $*"; }
lines() { tr '\n' ' ' | sed 's/ $//'; }
installed() { dpkg-query -Wf '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u; }
among() { printf '%s\n' $1 | grep -Fx -e "$(printf '%s\n' $2)"; }
without() { printf '%s\n' $1 | grep -vFx -e "$(printf '%s\n' $2)"; }

docker version >/dev/null 2>&1 && docker=yes || docker=
if [ -z "$docker" ] && command -v dockerd >/dev/null && [ -d {{ etc }} ]; then
    echo "Docker does not answer: start it, or what we made in it would stay (systemctl start docker)" >&2
    exit 1
fi

# --- Which packages go -------------------------------------------------------------------------
here=$(installed)
mine=$(cat $before/installed 2>/dev/null)
[ ! -e $before/installing ] || mine="$mine $(without "$here" "$(cat $before/installing)")"
[ -z "$mine" ] || mine=$(among "$here" "$mine")
[ -e $before/packages ] && [ ! -e $before/late ] && known=yes || known=
[ -n "$known" ] || [ ! -d {{ etc }} ] || stays "packages: this host was deployed before notes were kept of what was there; \`apt-mark showmanual\` may tell"

# dependencies OF…: what they need, themselves included.
dependencies() {
    apt-cache depends --recurse --installed --no-suggests --no-recommends --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$@" 2>/dev/null | grep '^[a-z0-9]' | sort -u
}

engine={{ engine | join(" ") | tojson }}
others=
if [ -n "$docker" ]; then
    others=$(
        docker ps -a --format {% raw %}'{{.Names}} {{.Label "{% endraw %}{{ role_label }}{% raw %}"}}'{% endraw %} | awk 'NF == 1 { print "container " $1 }'
        docker volume ls -q | grep -vFx{% for volume in volumes %} -e {{ volume }}{% endfor %} | sed 's/^/volume /'
        docker network ls --format {% raw %}'{{.Name}} {{.Label "{% endraw %}{{ role_label }}{% raw %}"}}'{% endraw %} | awk 'NF == 1 && $1 !~ /^(bridge|host|none)$/ { print "network " $1 }'
        docker image ls --format {% raw %}'{{.Repository}}:{{.Tag}}'{% endraw %} | grep -v '^<none>\|^{{ prefix }}' | sed 's/^/image /'
    )
fi
if [ -n "$others" ] && [ -n "$(among "$mine" "$engine")" ]; then
    stays "Docker, which others use: $(printf '%s\n' "$others" | sort -u | head -n 5 | paste -sd, -)"
    mine=$(without "$mine" "$(dependencies $(among "$here" "$engine"))")
fi
# What others came to need since stays, with all that it needs.
for _ in 1 2 3 4 5; do
    [ -n "$mine" ] || break
    needed=$(apt-get -qs purge $mine 2>/dev/null | awk '$1 == "Purg" || $1 == "Remv" { print $2 }')
    needed=$(without "$needed" "$mine") && [ -n "$needed" ] || break
    stays "packages that $(echo "$needed" | lines) need"
    mine=$(without "$mine" "$(dependencies $needed)")
done
[ -n "$docker" ] && [ -n "$(among "$mine" "$engine")" ] && engine_goes=yes || engine_goes=

# --- In Docker -----------------------------------------------------------------------------------
if [ -n "$docker" ]; then
    # (By their names: the services come before the sessions, or new ones would be started.)
    for name in $(docker ps -a --filter label={{ role_label }} --format {% raw %}'{{.Names}}'{% endraw %} | sort); do
        thing "container $name" docker rm --force --volumes "$name"
    done
    for network in $(docker network ls --filter label={{ role_label }}=network --format {% raw %}'{{.Name}}'{% endraw %}); do
        for name in $(docker ps -a --filter network="$network" --format {% raw %}'{{.Names}} {{.Label "{% endraw %}{{ role_label }}{% raw %}"}}'{% endraw %} | awk 'NF == 1 { print $1 }'); do
            thing "connection of the container $name to $network" docker network disconnect --force "$network" "$name"
        done
        thing "network $network" docker network rm "$network"
    done
    for volume in {{ volumes | join(" ") }}; do
        docker volume inspect "$volume" >/dev/null 2>&1 && thing "volume $volume" docker volume rm "$volume"
    done
    for image in $(docker image ls --filter label={{ name_label }} --format {% raw %}'{{.Repository}}:{{.Tag}}'{% endraw %} | grep '^{{ prefix }}'); do
        thing "image $image" docker image rm "$image"
    done
    for image in $(docker image ls -q --filter dangling=true --filter label={{ name_label }}); do
        thing "image $image" docker image rm "$image"
    done
    if [ -z "$engine_goes" ]; then
        # All our steps read /run/build/env; what others built stays in the cache.
        cache=$(docker buildx du --verbose 2>/dev/null | awk '
            $1 == "ID:" { id = $2 }
            $1 == "Description:" && /\/run\/build\/env/ { print id }')
        prune() { for id in $cache; do docker builder prune --force --all --filter "id=$id" || return; done; }
        [ -z "$cache" ] || thing "build cache, $(echo "$cache" | wc -l) steps of ours" prune
    fi
fi

# --- Units, rules, files -------------------------------------------------------------------------
units=$(our_units)
[ -z "$units" ] || thing "units: $(echo "$units" | lines)" remove_units
remove_slice() { systemctl stop {{ build_slice }}; systemctl revert {{ build_slice }}; }
[ ! -d /run/systemd/system.control/{{ build_slice }}.d ] || thing {{ build_slice }} remove_slice

for program in iptables ip6tables; do
    has_our_rules $program &&
        thing "$program: chains JHUB-*, and the rules that lead there" remove_our_rules $program
done
remove_empty_tables() {
    # Tables of iptables-nft that were not there before, and in which nothing is left.
    nft list tables 2>/dev/null | grep -E '^table ip6? (filter|nat|raw|mangle)$' | while read -r _ family name; do
        grep -qx "table $family $name" $before/tables 2>/dev/null && continue
        nft list table "$family" "$name" 2>/dev/null | awk '
            NF && !/^(#|table |\tchain |\t\ttype .*policy accept;$|\t?}$)/ { rules = 1 }
            END { exit rules }' && nft delete table "$family" "$name"
    done
}
for table in "inet jhub" "bridge jhub"; do
    nft list table $table >/dev/null 2>&1 && thing "nftables: table $table" nft delete table $table
done
[ "$mode" = list ] || [ ! -e $before/packages ] || remove_empty_tables
for file in {{ etc }} {{ logs }} /etc/sysctl.d/*integrable-jupyterhub* /etc/modules-load.d/integrable-jupyterhub* \
    /etc/systemd/journald.conf.d/*integrable-jupyterhub* /etc/logrotate.d/*integrable-jupyterhub*; do
    [ -e "$file" ] && thing "$file" rm -rf "$file"
done

# --- Docker's configuration, and Docker ----------------------------------------------------------
held=$(cat $before/held 2>/dev/null)
[ -z "$held" ] || held=$(among "$here" "$held")
[ -z "$held" ] || [ -z "$(apt-mark showhold $held)" ] || thing "holds of $(echo "$held" | lines)" apt-mark unhold $held

new_daemon() {
    case $daemon in
        restore) cp -p $before/daemon.json {{ daemon_json }} ;;
        replace) cat >{{ daemon_json }}.new && chmod 644 {{ daemon_json }}.new && mv {{ daemon_json }}.new {{ daemon_json }} ;;
        remove) rm -f {{ daemon_json }}; [ -e $before/etc-docker ] || [ -z "$known" ] || rmdir --ignore-fail-on-non-empty /etc/docker ;;
    esac
    [ -n "$docker" ] && [ -z "$engine_goes" ] || return 0
    # Without live-restore a daemon that starts ends the containers of before.
    if grep -q '"live-restore": *true' {{ daemon_json }} 2>/dev/null || [ -z "$(docker ps -q)" ]; then
        systemctl restart docker
    else
        systemctl reload docker
        echo "Docker takes up its configuration of before when it starts next: a restart now would end containers of others" >&2
    fi
}
[ "$daemon" = same ] || thing "what is ours in {{ daemon_json }} ($daemon)" new_daemon

remove_engine() {
    systemctl stop docker.socket docker containerd 2>/dev/null
    for program in iptables ip6tables; do
        for table in filter nat raw mangle; do
            $program -w -t $table -S 2>/dev/null | grep -q 'DOCKER\|docker0' && remove_rules $program $table 'DOCKER|docker0' '^DOCKER'
        done
    done
    iptables -w -P FORWARD "$(cat $before/forward 2>/dev/null || echo ACCEPT)"
    remove_empty_tables
    ip link delete docker0 2>/dev/null
    apt-get -qy -o DPkg::Lock::Timeout=600 purge $mine || return
    # What Docker keeps; /var/lib/docker may be a place that something is mounted on.
    rm -rf /var/lib/containerd /run/docker /run/docker.sock /run/containerd
    find /var/lib/docker -mindepth 1 -delete 2>/dev/null; rmdir /var/lib/docker 2>/dev/null
    [ -e $before/etc-docker ] || rm -rf /etc/docker
    [ -e $before/etc-cni ] || rmdir /etc/cni/net.d /etc/cni 2>/dev/null
    [ -e $before/docker-group ] || groupdel docker 2>/dev/null
    rmdir /opt/containerd/bin /opt/containerd/lib /opt/containerd /etc/containerd 2>/dev/null
    sysctl -q -p $before/sysctl 2>/dev/null; systemctl restart systemd-sysctl
}
remove_packages() { apt-get -qy -o DPkg::Lock::Timeout=600 purge $mine; }
if [ -n "$mine" ]; then
    [ -n "$engine_goes" ] && how=remove_engine || how=remove_packages
    thing "packages: $(printf '%s\n' $mine | lines)${engine_goes:+, with all that Docker keeps}" $how
fi

buildx=~root/.docker/buildx # its notes of our builds
remove_buildx() { rm -rf $buildx && rmdir --ignore-fail-on-non-empty ${buildx%/*}; }
[ -e $before/buildx ] || [ -z "$known" ] || [ ! -d $buildx ] || thing "$buildx" remove_buildx

{%- if backups_elsewhere %}
# A folder of somebody's, with more in it than ours.
if ls {{ backups_elsewhere }} >/dev/null 2>&1; then
    if [ "$backups" = keep ]; then
        stays "backups: {{ backups_elsewhere }}"
    else
        thing "backups: {{ backups_elsewhere }}" rm -f {{ backups_elsewhere }}
    fi
fi
{%- endif %}

# --- At last what was kept to know all this ------------------------------------------------------
if [ $failed -eq 0 ]; then
    kept=
    [ "$backups" = keep ] && [ -d {{ backups }} ] && [ -n "$(ls -A {{ backups }})" ] && kept={{ backups }}
    [ -z "$kept" ] || stays "backups in $kept"
    left=$(find {{ state }} -mindepth 1 -maxdepth 1 ! -path "${kept:-/}" 2>/dev/null)
    remove_state() { rm -rf $left; rmdir --ignore-fail-on-non-empty {{ state }}; }
    if [ -n "$left" ]; then thing "{{ state }}${kept:+, but for the backups}" remove_state; fi
    [ "$mode" = list ] || rm -f /run/integrable-jupyterhub* /run/lock/integrable-jupyterhub*
fi
exit $failed
