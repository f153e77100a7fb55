# What takes our units and rules off a host: for uninstall.sh and ../migrate/undo.
our_units() { (cd {{ units }} && ls -d integrable-jupyterhub*.* 2>/dev/null) || :; }
remove_units() {
    our=$(our_units)
    [ -z "$our" ] || systemctl disable --quiet $our || :
    (cd {{ units }} && rm -f $our)
    for file in {{ units }}/*.d/integrable-jupyterhub*.conf; do
        rm -f "$file"; rmdir --ignore-fail-on-non-empty "${file%/*}" 2>/dev/null || :
    done
    # Docker requires one of them until this is read, and would stop with it.
    systemctl daemon-reload
    [ -z "$our" ] || { systemctl stop $our; systemctl reset-failed $our; } 2>/dev/null || :
}

# remove_rules PROGRAM TABLE PATTERN CHAINS: rules that match, and these chains, with what is in them.
remove_rules() {
    # Read whole before the other begins: both would hold the same lock.
    rules=$($1 -w -t "$2" -S | awk -v table="$2" -v pattern="$3" -v chains="$4" '
        $1 == "-N" && $2 ~ chains { flush = flush "-F " $2 "\n"; remove = remove "-X " $2 "\n" }
        $1 == "-A" && $2 !~ chains && $0 ~ pattern { sub("-A", "-D"); rules = rules $0 "\n" }
        END { printf "*%s\n%s%s%sCOMMIT", table, rules, flush, remove }')
    printf '%s\n' "$rules" | "$1-restore" -w 10 --noflush
}
has_our_rules() { $1 -w -S 2>/dev/null | grep -q '^-N JHUB-'; }
remove_our_rules() { remove_rules "$1" filter ' -j JHUB-' '^JHUB-'; }
