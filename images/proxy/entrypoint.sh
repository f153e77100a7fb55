#!/bin/sh
# The proxy reads its token from the environment only: hand it over here, where `docker inspect` does not see it.
set -eu
[ -r /run/secrets/proxy_token ] || { echo "proxy: cannot read /run/secrets/proxy_token as gid $(id -g)" >&2; exit 1; }
CONFIGPROXY_AUTH_TOKEN=$(cat /run/secrets/proxy_token)
[ -n "$CONFIGPROXY_AUTH_TOKEN" ] || { echo "proxy: /run/secrets/proxy_token is empty" >&2; exit 1; }
export CONFIGPROXY_AUTH_TOKEN
exec node --require /opt/proxy/door.js /opt/proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy "$@"
