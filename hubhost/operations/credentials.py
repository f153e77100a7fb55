"""Operations on secrets and certificates."""

from __future__ import annotations

from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.hostfile import SERVICES_GROUP
from hubhost.operations.base import Commands, script, wait_until
from hubhost.paths import SECRETS
from hubhost.rotation import Rotation
from hubhost.rotation import discard as rotation_script
from hubhost.secrets import Secret, secrets_script
from hubhost.service import PROXY_NAME


@operation()
def secrets(wanted: tuple[Secret, ...], services: tuple[str, ...]) -> Commands:
    """Make the secrets that are missing, on the host itself, and a token for each service."""
    state = host.get_fact(facts.Secrets)
    expected = {".": "700 0 0"} | {s.name: f"{s.mode:o} 0 {s.group}" for s in wanted}
    expected["services"] = " ".join(services)
    if any(state.get(name) != value for name, value in expected.items()):
        yield script(secrets_script(SECRETS, wanted, services))


@operation()
def discard(rotation: Rotation) -> Commands:
    """Delete a secret; `secrets`, or `self_signed_certificate`, will make another."""
    yield script(*rotation_script(rotation))


@operation()
def self_signed_certificate(directory: str, names: tuple[str, ...], keep: bool = False) -> Commands:
    """Make a certificate for `names` (``DNS:…``, ``IP:…``), or a new one before it expires.

    `keep`: whatever is there, if it fits its key.
    """
    state = host.get_fact(facts.Certificate, directory=directory)
    if keep and state and state[0] in ("valid", "ending", "expiring"):
        return
    shown = ", ".join(name.replace("IP:", "IP Address:") for name in names)
    if state == ["valid", shown, f"640 0 {SERVICES_GROUP}"]:
        return
    common_name = names[0].partition(":")[2]
    yield script(
        f"install -d -m 755 {directory}; cd {directory}; umask 077",
        "openssl req -x509 -newkey rsa:3072 -sha256 -days 825 -nodes -keyout tls.key.new"
        f" -out tls.crt.new -subj '/CN={common_name}' -addext subjectAltName={','.join(names)}"
        " -addext basicConstraints=critical,CA:TRUE 2>/dev/null",
        f"chown 0:{SERVICES_GROUP} tls.key.new; chmod 640 tls.key.new; chmod 644 tls.crt.new",
        "mv tls.key.new tls.key; mv tls.crt.new tls.crt",
    )


@operation()
def served_certificate(directory: str, address: str) -> Commands:
    """Have the running proxy (host:port) take up the certificate in `directory`; nobody notices."""
    if not host.get_fact(facts.ServedCertificate, directory=directory, address=address):
        yield script(
            f"docker kill --signal HUP {PROXY_NAME} >/dev/null",
            *wait_until(
                facts.serves(directory, address),
                PROXY_NAME,
                20,
                f"serves another certificate than the one in {directory}, its last lines are above;"
                f" `docker restart {PROXY_NAME}`",
            ),
        )
