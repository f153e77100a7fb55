"""The proxy's certificate: the names it must have, and whether one given by the admin is sound."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from hubhost.errors import Problem, Problems
from hubhost.hostfile import SERVICES_GROUP, HostFile
from hubhost.paths import TLS
from hubhost.service import PROXY_NAME
from hubhost.settings import HOME, Settings

WARN_BEFORE = timedelta(days=21)
"""How long before its end a certificate is warned of; certbot renews at 30 days."""


def names(settings: Settings) -> tuple[str, ...]:
    """The subject alternative names of a self-signed certificate, as OpenSSL writes them."""
    wanted = [f"DNS:{PROXY_NAME}", "IP:127.0.0.1", _san(settings.public_host)]
    return tuple(dict.fromkeys(wanted))


def _san(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"DNS:{host.lower()}"
    if address.version == 4:
        return f"IP:{address}"
    # As OpenSSL writes it: in full, upper case, without leading zeros.
    return "IP:" + ":".join(f"{int(part, 16):X}" for part in address.exploded.split(":"))


def given_files(settings: Settings, now: datetime | None = None) -> tuple[HostFile, ...]:
    """The admin's key and certificate chain for the host; empty where none are set.

    Raises:
        Problems: the key doesn't match, the certificate is not valid now, the chain is broken, or
            public_url's host is not among its names.
    """
    key_file, certificate_file = settings.tls_key_file, settings.tls_certificate_file
    if key_file is None or certificate_file is None:
        return ()
    chain = _chain(settings, certificate_file)
    found = [
        *_key_problems(key_file, chain[0]),
        *_time_problems(certificate_file, chain, now or datetime.now(UTC)),
        *_chain_problems(chain),
        *_name_problems(certificate_file, chain[0], settings.public_host),
    ]
    if found:
        raise Problems(found)
    served = "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain)
    return (
        HostFile(TLS / "tls.key", key_file.read_text(), 0o640, SERVICES_GROUP),
        HostFile(TLS / "tls.crt", served),
    )


def ending(settings: Settings, now: datetime | None = None) -> str | None:
    """A line of warning where the first of the admin's certificates to end does so soon."""
    if (certificate_file := settings.tls_certificate_file) is None:
        return None
    end = min(found.not_valid_after_utc for found in _chain(settings, certificate_file))
    if end - (now or datetime.now(UTC)) >= WARN_BEFORE:
        return None
    return f"tls_certificate_file: {certificate_file} ends on {end:%Y-%m-%d}; {renewal(settings)}"


def renewal(settings: Settings) -> str:
    """What an admin does about a certificate that ends."""
    if settings.tls_managed_on_host:
        return "renew it on the host"
    if settings.tls_certificate_file:
        return "put a renewed one in its place and deploy"
    return "deploy, and there will be a new one"


def _chain(settings: Settings, certificate_file: Path) -> list[x509.Certificate]:
    chain = _load("tls_certificate_file", certificate_file)
    return chain + (_load("tls_ca_file", settings.tls_ca_file) if settings.tls_ca_file else [])


def _load(setting: str, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        message = f"{path} holds no PEM certificate ({str(error).splitlines()[0][:80]})"
        raise Problems([Problem(setting, message, f"name a PEM file in {HOME}")]) from None


def _key_problems(path: Path, certificate: x509.Certificate) -> list[Problem]:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        message = f"{path} holds no private key in PEM without a passphrase"
        return [Problem("tls_key_file", message, f"name such a file in {HOME}")]
    encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*encoding) == certificate.public_key().public_bytes(*encoding):
        return []
    message = f"{path} is not the key of the certificate in tls_certificate_file"
    return [Problem("tls_key_file", message, "name the key that the certificate was made for")]


def _time_problems(path: Path, chain: list[x509.Certificate], now: datetime) -> list[Problem]:
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not start <= now <= end:
            name = certificate.subject.rfc4514_string()
            message = f"{path}: {name} is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} only"
            remedy = "name a certificate that is valid today"
            return [Problem("tls_certificate_file", message, remedy)]
    return []


def _chain_problems(chain: list[x509.Certificate]) -> list[Problem]:
    """Each certificate must be issued by the next; the last by itself or by a root people trust."""
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            message = (
                f"the certificate of {certificate.subject.rfc4514_string()} is not issued by the"
                f" next in the chain, {issuer.subject.rfc4514_string()}"
            )
            remedy = "put the issuer of each certificate right after it"
            return [Problem("tls_ca_file", message, remedy)]
    last = chain[-1]
    if last.issuer == last.subject or last.issuer.public_bytes() in _trusted_subjects():
        return []
    message = (
        f"the chain ends before {last.issuer.rfc4514_string()}, which no system trusts by itself"
    )
    return [Problem("tls_ca_file", message, "name a file with the missing CA certificates")]


def _trusted_subjects() -> set[bytes]:
    """Subjects of the CA certificates that this machine trusts."""
    roots = ssl.create_default_context().get_ca_certs(binary_form=True)
    return {x509.load_der_x509_certificate(root).subject.public_bytes() for root in roots}


def covers(present: Iterable[str], host: str) -> bool:
    """Whether a certificate's names, as OpenSSL writes them, are good for a host."""
    names = {name.strip().replace("IP Address:", "IP:") for name in present}
    wanted = _san(host)
    # RFC 6125 6.4.3: a wildcard stands for the leftmost label, whole.
    wildcard = f"DNS:*.{host.partition('.')[2].lower()}"
    return wanted in names or (wanted.startswith("DNS:") and wildcard in names)


def _name_problems(path: Path, certificate: x509.Certificate, host: str) -> list[Problem]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        present = [
            *(f"DNS:{n.lower()}" for n in extension.value.get_values_for_type(x509.DNSName)),
            *(_san(str(ip)) for ip in extension.value.get_values_for_type(x509.IPAddress)),
        ]
    except x509.ExtensionNotFound:
        present = []
    if covers(present, host):
        return []
    message = f"{path} is for {', '.join(present) or 'no name'}, not for {host} of public_url"
    return [Problem("tls_certificate_file", message, "name a certificate for it")]
