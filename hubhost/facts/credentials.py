"""Facts of secrets and certificates. Only ServiceTokens reads a secret."""

from __future__ import annotations

from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.facts.base import Lines
from hubhost.paths import SECRETS
from hubhost.tls import WARN_BEFORE

WARN_SECONDS = int(WARN_BEFORE.total_seconds())


class Secrets(FactBase[dict[str, str]]):
    """Names of the secrets on the host, each with "MODE OWNER GROUP" — and, for the service
    tokens, the services' names. Never a secret's content."""

    default = dict

    @override
    def command(self) -> str:
        return f"""
cd {quote(str(SECRETS))} 2>/dev/null || exit 0
echo ". $(stat -c '%a %u %g' .)"
for file in *; do
  [ -s "$file" ] && echo "$file $(stat -c '%a %u %g' "$file")"
done
[ -s service_tokens ] \\
  && echo "services $(tr ';' '\\n' < service_tokens | cut -d: -f1 | tr '\\n' ' ')"
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return {name: value.strip() for name, _, value in (line.partition(" ") for line in output)}


class Certificate(Lines):
    """The host's certificate: a word, where it fits its key; its names; the key's mode and owner.

    The word is "valid" for 30 more days or longer, "ending" from 21 days on, then "expiring".
    """

    @override
    def requires_command(self, directory: str) -> str:
        return "openssl"

    @override
    def command(self, directory: str) -> str:
        return f"""
cd {quote(directory)} 2>/dev/null || exit 0
key=$(openssl pkey -in tls.key -pubout 2>/dev/null)
[ -n "$key" ] && [ "$(openssl x509 -in tls.crt -noout -pubkey 2>/dev/null)" = "$key" ] \\
  && {{ openssl x509 -in tls.crt -noout -checkend 2592000 >/dev/null && echo valid \\
    || {{ openssl x509 -in tls.crt -noout -checkend {WARN_SECONDS} >/dev/null && echo ending; }} \\
    || echo expiring; }}
openssl x509 -in tls.crt -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p'
stat -c '%a %u %g' tls.key 2>/dev/null
true
"""


class ServedCertificate(FactBase[bool]):
    """Whether the proxy (address:port) serves the certificate that lies in `directory`."""

    default = bool

    @override
    def requires_command(self, directory: str, address: str) -> str:
        return "openssl"

    @override
    def command(self, directory: str, address: str) -> str:
        return f"{serves(directory, address)} && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


def serves(directory: str, address: str) -> str:
    """Shell: succeeds where `address` (host:port) serves the certificate in `directory`."""
    served = f"timeout 10 openssl s_client -connect {address} </dev/null 2>/dev/null"
    return (
        f'[ "$({served} | openssl x509 2>/dev/null)" = '
        f'"$(openssl x509 -in {quote(directory)}/tls.crt 2>/dev/null)" ]'
    )


class ServiceTokens(FactBase[dict[str, str]]):
    """The tokens of some services, to be told to a person: the only fact that reads a secret."""

    default = dict

    @override
    def command(self, services: tuple[str, ...]) -> str:
        wanted = "|".join(services).replace(".", "[.]")
        tokens = SECRETS / "service_tokens"
        return f"tr ';' '\\n' < {tokens} 2>/dev/null | grep -E '^({wanted}):'; true"

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return dict(line.split(":", 1) for line in output)
