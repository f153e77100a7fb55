#!/bin/sh
# Loads the isolation of the hub's network. Safe to repeat: our chains are replaced in one commit,
# the jumps to them are never removed, so there is no moment without rules.
set -eu
cd "$(dirname "$0")"

# Frames between containers on one bridge reach iptables only by this.
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || {
    modprobe br_netfilter
    sysctl -qw net.bridge.bridge-nf-call-iptables=1
}

# Nothing is loaded unless all of it can be.
iptables-restore -w 10 --noflush --test < v4.rules
ip6tables-restore -w 10 --noflush --test < v6.rules
nft --check --file guard.nft
# A kernel without nft_meta_bridge can't tell bridges apart by name.
bridge=bridge.nft
nft --check --file $bridge 2>/dev/null || bridge=bridge-by-address.nft
nft --check --file $bridge

cat guard.nft $bridge | nft --file -
iptables-restore -w 10 --noflush < v4.rules
ip6tables-restore -w 10 --noflush < v6.rules

# The jump must be rule 1: Docker and others append theirs, and what comes first decides.
first() {
    [ "$($1 -w -S "$2" | sed -n 2p)" = "-A $2 -j $3" ] && return
    $1 -w -I "$2" 1 -j "$3"
    # A duplicate further down is deleted from the end, never the first one.
    $1 -w -S "$2" | grep -nx -- "-A $2 -j $3" | cut -d: -f1 | tail -n +2 | sort -rn |
        while read -r line; do $1 -w -D "$2" $((line - 1)); done
}
iptables -w -N DOCKER-USER 2>/dev/null || true # Docker keeps a chain made before it starts
{%- for chain, ours in jumps %}
first iptables {{ chain }} {{ ours }}
{%- endfor %}
{%- for chain, ours in jumps6 %}
first ip6tables {{ chain }} {{ ours }}
{%- endfor %}

# After `update-alternatives` the rules of the other iptables would stay, and Docker not see them.
case $(iptables -V) in *legacy*) other=nft ;; *) other=legacy ;; esac
for program in iptables-$other ip6tables-$other; do
    command -v $program-save >/dev/null || continue
    # To ask iptables-legacy would make its tables.
    [ $other = nft ] || grep -qsx filter "/proc/net/${program%tables*}_tables_names" || continue
    $program-save -t filter 2>/dev/null | awk '
        /^:JHUB-/ { chain = substr($1, 2); flush = flush "-F " chain "\n"; remove = remove "-X " chain "\n" }
        /^-A/ && !/^-A JHUB-/ && / -j JHUB-/ { sub("-A", "-D"); jumps = jumps $0 "\n" }
        END { if (remove) printf "*filter\n%s%s%sCOMMIT\n", jumps, flush, remove }
    ' | $program-restore -w 10 --noflush
done

# What nft prints is not what it was given: remember it, to tell later whether it still stands.
{{ guard_state }} > {{ guard_digest }}
