#!/bin/sh
# A deploy hook for certbot on the hub's own host: gives the renewed certificate to the running proxy; nobody is cut
# off. For the setting tls_managed_on_host; README.md says how. Change the name.
set -eu
domain=hub.example.org

case " $RENEWED_DOMAINS " in *" $domain "*) ;; *) exit 0 ;; esac
cd /etc/integrable-jupyterhub/tls
umask 077
cat "$RENEWED_LINEAGE/privkey.pem" > tls.key.new
cat "$RENEWED_LINEAGE/fullchain.pem" > tls.crt.new
# 65600 is the group of the services.
chown 0:65600 tls.key.new
chmod 640 tls.key.new
chmod 644 tls.crt.new
mv tls.key.new tls.key
mv tls.crt.new tls.crt
# Where the proxy does not run, it reads them when it starts.
docker kill --signal HUP jupyterhub_proxy >/dev/null || true
