#!/bin/sh
# Daily: a warning in the journal when the certificate that is served ends soon.
set -eu
certificate=$(timeout 20 openssl s_client -connect {{ address }} </dev/null 2>/dev/null | openssl x509 2>/dev/null) \
    || certificate=$(cat {{ tls }}/tls.crt)
printf '%s\n' "$certificate" | openssl x509 -noout -checkend {{ seconds }} >/dev/null && exit 0
end=$(printf '%s\n' "$certificate" | openssl x509 -noout -enddate | cut -d= -f2)
# <4>: how the journal knows a warning.
echo "<4>the hub's certificate ends on $end; {{ renewal }}"
