#!/bin/bash
# Starts the single-user server of a session. Hooks as in the Jupyter Docker Stacks: in order, files that end in
# .sh are sourced, programs are run.
set -e
export USER="$NB_USER" LOGNAME="$NB_USER"
# The home is an empty tmpfs in a session: what an image wants in it belongs into /etc/skel.
cp -r --update=none /etc/skel/. "$HOME"
for hook in /usr/local/bin/before-notebook.d/*; do
    case $hook in
        # shellcheck source=/dev/null
        *.sh) [ ! -f "$hook" ] || . "$hook" ;;
        *) [ ! -f "$hook" ] || [ ! -x "$hook" ] || "$hook" ;;
    esac
done
# shellcheck disable=SC2086  # NOTEBOOK_ARGS is a list of words
exec python3 -P /usr/local/lib/singleuser.py ${NOTEBOOK_ARGS:-} "$@"
