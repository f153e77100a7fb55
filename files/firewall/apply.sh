#!/bin/sh
# Loads the isolation of the hub's network. Safe to repeat: our chains are replaced in one commit,
# the jumps to them are never removed, so there is no moment without rules.
set -eu
rules=$(dirname "$0")/v4.rules

# Frames between containers on one bridge reach iptables only by this.
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || {
    modprobe br_netfilter
    sysctl -qw net.bridge.bridge-nf-call-iptables=1
}

iptables-restore -w 10 --noflush --test < "$rules"
iptables-restore -w 10 --noflush < "$rules"

# The jump must be rule 1: Docker and others append theirs, and what comes first decides.
first() {
    [ "$(iptables -w -S "$1" | sed -n 2p)" = "-A $1 -j $2" ] && return
    iptables -w -I "$1" 1 -j "$2"
    # A duplicate further down is deleted from the end, never the first one.
    iptables -w -S "$1" | grep -nx -- "-A $1 -j $2" | cut -d: -f1 | tail -n +2 | sort -rn |
        while read -r line; do iptables -w -D "$1" $((line - 1)); done
}
iptables -w -N DOCKER-USER 2>/dev/null || true # Docker keeps a chain made before it starts
{%- for chain, ours in jumps %}
first {{ chain }} {{ ours }}
{%- endfor %}
