"""The admin's certificate: with real keys, what is sound and what is refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hubhost import tls
from hubhost.errors import Problems
from hubhost.hostfile import SERVICES_GROUP, HostFile
from hubhost.settings import Settings
from hubhost.tls import ending, given_files, names
from tests.unit.core.sample import settings

NOW = datetime(2030, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
HOST = "hub.example.org"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )


def make(
    subject: str,
    issuer: Pair | None = None,
    sans: tuple[str, ...] = (),
    start: datetime = NOW - YEAR,
    end: datetime = NOW + YEAR,
) -> Pair:
    """A new key and its certificate, signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if sans:
        present = [_san(san) for san in sans]
        builder = builder.add_extension(x509.SubjectAlternativeName(present), critical=False)
    return Pair(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


ROOT = make("root")
INTERMEDIATE = make("intermediate", ROOT)
LEAF = make(HOST, INTERMEDIATE, (HOST,))
SELF_SIGNED = make(HOST, sans=(HOST,))


class Files:
    """The admin's files on the controller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def settings(
        self,
        certificate: bytes = LEAF.pem,
        key: bytes = LEAF.key_pem(),
        ca: bytes | None = INTERMEDIATE.pem + ROOT.pem,
        host: str = HOST,
    ) -> Settings:
        return settings(
            public_url=f"https://{host}",
            tls_certificate_file=self.put("tls.crt", certificate),
            tls_key_file=self.put("tls.key", key),
            tls_ca_file=self.put("ca.crt", ca) if ca else None,
        )

    def given(self, *args: Any, now: datetime = NOW, **changes: Any) -> tuple[HostFile, ...]:
        return given_files(self.settings(*args, **changes), now)

    def refused(self, **changes: Any) -> str:
        """The one line, without the name of the temporary folder."""
        with pytest.raises(Problems) as caught:
            self.given(**changes)
        (line,) = str(caught.value).replace(f"{self.folder}/", "").splitlines()
        return line


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(autouse=True)
def no_trusted_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine trusts."""
    monkeypatch.setattr(tls, "_trusted_subjects", set)


# --- Sound -----------------------------------------------------------------------------------
def test_without_files_of_the_admins_there_are_none_to_install() -> None:
    assert given_files(settings()) == ()


def test_a_key_and_a_whole_chain_are_installed(files: Files) -> None:
    key, certificate = files.given()
    assert (str(key.path), key.content) == (
        "/etc/integrable-jupyterhub/tls/tls.key",
        LEAF.key_pem().decode(),
    )
    assert (str(certificate.path), certificate.content) == (
        "/etc/integrable-jupyterhub/tls/tls.crt",
        (LEAF.pem + INTERMEDIATE.pem + ROOT.pem).decode(),
    )


def test_only_root_and_the_services_read_the_key(files: Files) -> None:
    key, certificate = files.given()
    assert (key.mode, key.group) == (0o640, SERVICES_GROUP)
    assert (certificate.mode, certificate.group) == (0o644, 0)


def test_the_chain_may_be_in_the_certificates_file(files: Files) -> None:
    _, certificate = files.given(certificate=LEAF.pem + INTERMEDIATE.pem + ROOT.pem, ca=None)
    assert certificate.content.encode() == LEAF.pem + INTERMEDIATE.pem + ROOT.pem


def test_a_certificate_signed_by_itself_is_sound(files: Files) -> None:
    assert files.given(SELF_SIGNED.pem, SELF_SIGNED.key_pem(), None)


def test_a_root_that_this_machine_trusts_need_not_be_in_the_chain(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = {ROOT.certificate.subject.public_bytes()}
    monkeypatch.setattr(tls, "_trusted_subjects", lambda: trusted)
    assert files.given(ca=INTERMEDIATE.pem)


@pytest.mark.parametrize(
    ("san", "host"),
    [
        ("*.example.org", HOST),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "[2001:db8::7]"),
        ("Hub.Example.org", HOST),
    ],
)
def test_a_certificate_for_the_public_host_by_another_spelling_is_sound(
    files: Files, san: str, host: str
) -> None:
    pair = make("any", sans=("other.example.org", san))
    assert files.given(pair.pem, pair.key_pem(), None, host)


# --- Refused ---------------------------------------------------------------------------------
def test_a_key_of_another_certificate_is_refused(files: Files) -> None:
    assert files.refused(key=SELF_SIGNED.key_pem()) == (
        "tls_key_file: tls.key is not the key of the certificate in tls_certificate_file;"
        " name the key that the certificate was made for"
    )


@pytest.mark.parametrize(
    "key", [b"garbage", LEAF.pem, LEAF.key_pem(b"passphrase")], ids=["garbage", "cert", "encrypted"]
)
def test_what_is_no_open_private_key_is_refused(files: Files, key: bytes) -> None:
    assert files.refused(key=key) == (
        "tls_key_file: tls.key holds no private key in PEM without a passphrase;"
        " name such a file in group_data/all.py"
    )


@pytest.mark.parametrize("garbage", [b"garbage", b"", LEAF.key_pem()], ids=["text", "empty", "key"])
def test_what_is_no_certificate_is_refused(files: Files, garbage: bytes) -> None:
    line = files.refused(certificate=garbage)
    assert line.startswith("tls_certificate_file: tls.crt holds no PEM certificate (")
    assert line.endswith("); name a PEM file in group_data/all.py")


def test_a_ca_file_without_certificates_is_refused(files: Files) -> None:
    assert files.refused(ca=b"x").startswith("tls_ca_file: ca.crt holds no PEM certificate (")


@pytest.mark.parametrize(
    "now",
    [NOW + YEAR + timedelta(seconds=1), NOW - YEAR - timedelta(seconds=1)],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_that_is_not_valid_today_is_refused(files: Files, now: datetime) -> None:
    assert files.refused(now=now) == (
        f"tls_certificate_file: tls.crt: CN={HOST} is valid from 2029-06-01 to 2031-06-01 only;"
        " name a certificate that is valid today"
    )


def test_an_expired_intermediate_is_refused(files: Files) -> None:
    old = make("intermediate", ROOT, end=NOW - timedelta(days=1))
    leaf = make(HOST, old, (HOST,))
    files.refused(certificate=leaf.pem, key=leaf.key_pem(), ca=old.pem + ROOT.pem)


@pytest.mark.parametrize(
    ("sans", "shown"),
    [
        (("other.example.org", "192.0.2.7"), "DNS:other.example.org, IP:192.0.2.7"),
        (("*.hub.example.org",), "DNS:*.hub.example.org"),
        (("*.org",), "DNS:*.org"),
        ((), "no name"),
    ],
)
def test_a_certificate_for_other_names_is_refused(
    files: Files, sans: tuple[str, ...], shown: str
) -> None:
    pair = make(HOST, sans=sans)
    assert files.refused(certificate=pair.pem, key=pair.key_pem(), ca=None) == (
        f"tls_certificate_file: tls.crt is for {shown}, not for hub.example.org of public_url;"
        " name a certificate for it"
    )


def test_a_wildcard_does_not_stand_for_an_address(files: Files) -> None:
    pair = make(HOST, sans=("*.0.2.7",))
    line = files.refused(certificate=pair.pem, key=pair.key_pem(), ca=None, host="192.0.2.7")
    assert "not for 192.0.2.7" in line


def test_a_name_that_looks_like_the_address_is_not_the_address(files: Files) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("192.0.2.7")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(certificate, key)
    files.refused(certificate=pair.pem, key=pair.key_pem(), ca=None, host="192.0.2.7")


@pytest.mark.parametrize(
    "ca", [ROOT.pem + INTERMEDIATE.pem, SELF_SIGNED.pem], ids=["wrong order", "of another"]
)
def test_a_chain_in_which_one_did_not_issue_the_one_before_is_refused(
    files: Files, ca: bytes
) -> None:
    line = files.refused(ca=ca)
    assert line.startswith(
        f"tls_ca_file: the certificate of CN={HOST} is not issued by the next in the chain, CN="
    )


def test_an_issuer_of_the_same_name_with_another_key_is_refused(files: Files) -> None:
    impostor = make("intermediate", ROOT)
    assert "is not issued by the next" in files.refused(ca=impostor.pem + ROOT.pem)


@pytest.mark.parametrize(("ca", "end"), [(None, "intermediate"), (INTERMEDIATE.pem, "root")])
def test_a_chain_that_ends_too_early_is_refused(files: Files, ca: bytes | None, end: str) -> None:
    assert files.refused(ca=ca) == (
        f"tls_ca_file: the chain ends before CN={end}, which no system trusts by itself;"
        " name a file with the missing CA certificates"
    )


def test_all_that_is_wrong_is_said_at_once(files: Files) -> None:
    pair = make(HOST, INTERMEDIATE, end=NOW - timedelta(days=1))
    with pytest.raises(Problems) as caught:
        files.given(pair.pem, SELF_SIGNED.key_pem(), None)
    assert [problem.subject for problem in caught.value.problems] == [
        "tls_key_file",
        "tls_certificate_file",
        "tls_ca_file",
        "tls_certificate_file",
    ]


def test_no_part_of_a_key_is_in_an_error(files: Files) -> None:
    assert "BEGIN" not in files.refused(key=SELF_SIGNED.key_pem())


# --- Soon to end ---------------------------------------------------------------------------
def test_a_certificate_is_warned_of_21_days_before_the_first_of_its_chain_ends(
    files: Files,
) -> None:
    intermediate = make("intermediate", ROOT, end=NOW + timedelta(days=60))
    leaf = make(HOST, intermediate, (HOST,))
    chosen = files.settings(leaf.pem, leaf.key_pem(), intermediate.pem + ROOT.pem)
    assert ending(chosen, NOW + timedelta(days=39)) is None
    warning = ending(chosen, NOW + timedelta(days=39, seconds=1)) or ""
    assert warning.endswith("ends on 2030-07-31; put a renewed one in its place and deploy")
    assert ending(settings(), NOW) is None


# --- The self-signed one ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "third"),
    [
        ("https://hub.example.org", ("DNS:hub.example.org",)),
        ("https://192.0.2.7:8443", ("IP:192.0.2.7",)),
        ("https://127.0.0.1:8000", ()),
        ("https://jupyterhub_proxy", ()),
    ],
)
def test_a_self_signed_certificate_is_for_proxy_loopback_and_public_name(
    url: str, third: tuple[str, ...]
) -> None:
    chosen = settings(public_url=url)
    assert names(chosen) == ("DNS:jupyterhub_proxy", "IP:127.0.0.1", *third)
