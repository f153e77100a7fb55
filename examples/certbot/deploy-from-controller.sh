#!/bin/sh
# A deploy hook for certbot on the machine you deploy from: hands the renewed certificate to the next deploy, and
# deploys. README.md says how; change these two.
set -eu
domain=hub.example.org
clone=/opt/integrable-jupyterhub

case " $RENEWED_DOMAINS " in *" $domain "*) ;; *) exit 0 ;; esac
owner=$(stat -c %U "$clone")
install -o "$owner" -m 600 "$RENEWED_LINEAGE/privkey.pem" "$clone/files/ssl/hub.key"
install -o "$owner" -m 644 "$RENEWED_LINEAGE/fullchain.pem" "$clone/files/ssl/hub.crt"
runuser -u "$owner" -- make -C "$clone" deploy
