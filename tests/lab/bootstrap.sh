#!/bin/sh
# Makes .venv from the hashed lock requirements/NAME.txt; does nothing when it is already from that lock.
#   tests/lab/bootstrap.sh controller|test
# Runs before there is any Python package: needs only python3 (>= 3.11) with its venv module.
set -eu

lock=$1
cd "$(dirname "$0")/../.."
file=requirements/$lock.txt

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "missing: python3, version 3.11 or newer; on Debian 12 or 13: apt-get install python3" >&2
    exit 1
fi

# The client is imported from where it is written.
client() { for site in .venv/lib/python*/site-packages; do echo "$PWD/client" >"$site/integrable-jupyterhub-client.pth"; done; }

# A lock of more packages serves for one of fewer: after `make test`, `make demo` changes nothing.
version=$("$python" -c 'import sys; print(sys.version)')
stamp() { { echo "$version"; cat requirements/controller.txt "requirements/$1.txt"; } | sha256sum | cut -d' ' -f1; }
for made in "$lock" test; do
    if [ "$(cat ".venv/.from-$made" 2>/dev/null)" = "$(stamp "$made")" ] && .venv/bin/python -c pass 2>/dev/null; then
        client
        exit 0
    fi
done

# ensurepip is what Debian leaves out of python3 and puts into python3-venv.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    tests/lab/apt-install python3-venv
fi

started=$(date +%s)
echo "Making .venv from $file" >&2
rm -f .venv/.from-*
"$python" -m venv --clear .venv
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r "$file"
client
stamp "$lock" >".venv/.from-$lock"
echo "Made .venv in $(($(date +%s) - started)) s" >&2
