#!/bin/bash
# Starts the single-user server of a session. Hooks as in the Jupyter Docker Stacks: files that end in .sh
# are sourced, in order.
set -e
# The home is an empty tmpfs in a session: what an image wants in it belongs into /etc/skel.
cp -r --update=none /etc/skel/. "$HOME"
for hook in /usr/local/bin/before-notebook.d/*.sh; do
    # shellcheck source=/dev/null
    [ ! -f "$hook" ] || . "$hook"
done
# shellcheck disable=SC2086  # NOTEBOOK_ARGS is a list of words
exec jupyterhub-singleuser ${NOTEBOOK_ARGS:-} "$@"
