"""The doctor: causes of what is wrong, and what is blotted out before it leaves a host."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost import doctor
from hubhost.doctor import Evidence, bundle, diagnose
from hubhost.engine import daemon_configuration
from hubhost.isolation import JUMPS, JUMPS6
from hubhost.status import Limits
from hubhost.templates import FILES
from tests.unit.core.sample import settings
from tests.unit.core.test_status import NOW, WELL

SETTINGS = settings(public_url="https://hub.example.org", backends=["172.27.0.9"])
DAEMON = json.dumps(json.loads(daemon_configuration("", SETTINGS.network_subnet)))
RULES = [
    *(f"rule iptables {chain} -A {chain} -j {target}" for chain, target in JUMPS),
    *(f"rule ip6tables {chain} -A {chain} -j {target}" for chain, target in JUMPS6),
]
LINES = [
    "docker answers",
    "container jupyterhub_hub false 0 ",
    "certificate_names DNS:jupyterhub_proxy, IP Address:127.0.0.1, DNS:hub.example.org",
    "port_holder docker-proxy",
    f"daemon_json {DAEMON}",
    *RULES,
]


def told(*lines: str, without: str = "\0", **changes: Any) -> list[tuple[str, str]]:
    """Severity and text of what is found, with these lines more, and without those."""
    evidence = Evidence.parse([*(x for x in LINES if not x.startswith(without)), *lines])
    found = diagnose(replace(WELL, **changes), Limits.of(SETTINGS), (), evidence, SETTINGS, NOW)
    return [(d.finding.severity.name, str(d)) for d in found]


def hub(**changes: Any) -> dict[str, Any]:
    return {"services": (replace(WELL.services[0], **changes),)}


def test_of_a_host_that_is_well_nothing_is_found() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("changes", "lines", "words"),
    [
        (
            hub(state="exited"),
            ["container jupyterhub_hub true 137 "],
            ["why     the kernel killed it", "remedy  raise hub_memory_mb above 1024, and deploy"],
        ),
        (
            hub(state="exited"),
            ["container jupyterhub_hub false 137 "],
            ["somebody or something stopped it (exit code 137)", "remedy  deploy"],
        ),
        (
            hub(state="exited"),
            ["container jupyterhub_hub false 1 ", "said jupyterhub_hub [C 2030] no database"],
            ["it ended by itself with exit code 1", "        it said: [C 2030] no database"],
        ),
        (
            hub(state="created"),
            ["container jupyterhub_hub false 128 bind: address already in use"],
            ["why     bind: address already in use"],
        ),
        (
            {"disk_free_mb": 10},
            ["docker_df Build Cache 9GB 8GB (90%)", "disk_use 300 /var/log"],
            ["Docker's build cache: 9GB, of which 8GB (90%) can go", "300 MB: /var/log"],
        ),
        (
            {"memory_free_mb": 1},
            ["oom Out of memory: Killed process 7 (java)"],
            ["why     Out of memory: Killed process 7 (java)"],
        ),
    ],
)  # fmt: skip
def test_what_the_status_finds_is_explained(
    changes: dict[str, Any], lines: list[str], words: list[str]
) -> None:
    ((_, said), *more) = told(*lines, without="container", **changes)
    assert more == []
    assert [word for word in words if word not in said] == []


def test_a_port_that_is_taken_names_who_has_it() -> None:
    proxy = replace(WELL.services[0], name="jupyterhub_proxy", state="created")
    ((_, said),) = told("port_holder nginx", without="port_holder", services=(proxy,))
    assert "port 8000 is taken by nginx" in said
    assert "remedy  stop nginx, or set another public_port; and deploy" in said


@pytest.mark.parametrize(
    ("line", "severity", "said"),
    [
        ("unresolved pypi_index pypi.org", "WARNING", "pypi_index: pypi.org does not resolve"),
        ("unreachable debian_mirror m:80", "WARNING", "debian_mirror: m:80 is not reached"),
        ("clock_synchronized no", "WARNING", "clock: is not synchronized: no time service runs"),
        ("foreign_name jupyterhub_hub", "ERROR", "containers: jupyterhub_hub has a name of ours"),
        ("attached lms 172.27.0.8", "WARNING", "containers: lms (172.27.0.8) is on the hub's"),
        ("inodes 99%", "ERROR", "disk: 99% of the inodes are used"),
        ("half_installed dash", "ERROR", "packages: dash is half installed"),
        ("frames_unseen yes", "ERROR", "firewall: iptables does not see frames"),
        ("held_package dash", "WARNING", "packages: dash is held: Debian's fixes pass it by"),
        ("failed_unit x.service", "WARNING", "units: x.service has failed"),
        ("certificate_key other", "ERROR", "certificate: and key in"),
        ("certificate_served other", "WARNING", "certificate: the proxy serves another"),
    ],
)
def test_the_doctor_looks_for_more(line: str, severity: str, said: str) -> None:
    ((found, text),) = told(line)
    assert found == severity
    assert said in text
    assert "remedy  " in text


@pytest.mark.parametrize("fine", ["clock_synchronized yes", "attached lms 172.27.0.9"])
def test_what_is_as_it_should_be_is_not_told(fine: str) -> None:
    assert told(fine) == []


def test_a_certificate_for_other_names_is_told() -> None:
    ((severity, said),) = told("certificate_names DNS:a.example", without="certificate_names")
    assert severity == "ERROR"
    assert "certificate: is for DNS:a.example, not for hub.example.org of public_url" in said
    assert told("certificate_names DNS:*.example.org", without="certificate_names") == []


def test_rules_before_ours_are_shown() -> None:
    foreign = "rule iptables DOCKER-USER -A DOCKER-USER -j ACCEPT"
    evidence = Evidence.parse([foreign, *LINES])
    found = diagnose(WELL, Limits.of(SETTINGS), (), evidence, SETTINGS, NOW)
    (said,) = map(str, found)
    assert "stands before ours: -A DOCKER-USER -j ACCEPT" in said
    (missing,) = told(without="rule ip6tables INPUT")
    assert "ip6tables: INPUT does not lead to JHUB-DENY6" in missing[1]


def test_where_docker_does_not_answer_that_is_the_first_thing() -> None:
    (_, first), (_, second) = told(
        "docker_said failed to start daemon", without="docker", **hub(state="missing")
    )
    assert first.splitlines()[0] == "  ERROR    docker: does not answer"
    assert "why     failed to start daemon" in first
    assert "why     Docker does not answer" in second


@pytest.mark.parametrize(
    ("text", "severity", "said"),
    [
        ("{", "ERROR", "daemon.json: can't be read"),
        ("[]", "ERROR", "daemon.json: can't be read"),
        (DAEMON.replace("true", "false"), "WARNING", "daemon.json: live-restore not as needed"),
        ("", "WARNING", "daemon.json: default-address-pools, live-restore, log-opts, runtimes"),
    ],
)
def test_dockers_configuration_is_compared(text: str, severity: str, said: str) -> None:
    ((found, shown),) = told(f"daemon_json {text}", without="daemon_json")
    assert found == severity
    assert said in shown


# --- What is blotted out -----------------------------------------------------------------------
REDACT = (FILES / "doctor" / "redact").read_text()


def redacted(text: str, folder: Path, *secrets: str) -> str:
    files = []
    for number, secret in enumerate(secrets):
        files.append(folder / str(number))
        files[-1].write_text(secret)
    done = subprocess.run(
        ["perl", "-e", REDACT, *files], input=text.encode(), capture_output=True, check=True
    )
    assert done.stderr == b""
    return done.stdout.decode()


SECRET = "aB3/+x=&9'\"\\%{" + "k" * 20


def encodings(secret: str) -> dict[str, str]:
    plain = secret.encode()
    once = quote(secret, safe="")
    return {
        "plain": secret,
        "URL": once,
        "URL, lower case": "".join(f"%{byte:02x}" for byte in plain),
        "all of it, twice": "".join(f"%25{byte:02X}" for byte in plain),
        "URL, twice": quote(once, safe=""),
        "JSON": json.dumps(secret)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(secret))[1:-1],
        "JSON of Go": json.dumps(secret)[1:-1].replace("&", "\\u0026"),
        "base64": base64.b64encode(plain).decode(),
        "base64 of name:secret": base64.b64encode(b"user:" + plain).decode(),
        "base64 of :secret:": base64.b64encode(b"::" + plain + b":").decode(),
        "base64 for URLs": base64.urlsafe_b64encode(plain).decode().rstrip("="),
        "base64 in a URL": quote(base64.b64encode(plain).decode(), safe=""),
    }


def remains(secret: str, text: str) -> bool:
    """Whether a secret can be read out of a text, in whatever encoding of the above."""
    probes = {**encodings(secret)}
    for name, code in encodings(secret).items():
        if "base64" in name:  # its ends may hold bits of its neighbours
            probes[name] = code[8:-8]
    return any(probe in text for probe in probes.values())


@pytest.mark.parametrize("encoding", encodings(SECRET))
def test_a_secret_is_blotted_out_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    text = f"before <{encodings(SECRET)[encoding]}> after\n"
    assert remains(SECRET, text)
    left = redacted(text, tmp_path, SECRET)
    assert not remains(SECRET, left)
    assert "[secret]" in left
    assert left.startswith("before <")
    assert left.endswith("> after\n")


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";:"),
                   min_size=8, max_size=64),
    around=st.tuples(st.binary(max_size=4), st.binary(max_size=4)),
)  # fmt: skip
def test_any_token_is_found_wherever_it_is(
    secret: str, around: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, after = around
    text = f"{secret} {quote(secret, safe='')} {json.dumps(secret)}"
    code = base64.b64encode(before + secret.encode() + after).decode()
    left = redacted(f"{text} {code}", tmp_path_factory.mktemp("r"), f"lms:{secret};b:12345678")
    assert secret not in left
    # What of the code holds nothing of the neighbours.
    start, end = 8 * len(before), 8 * (len(before) + len(secret))
    assert code[(start + 5) // 6 : end // 6] not in left


TOKEN = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Authorization: token {TOKEN}", "Authorization: [secret]"),
        ('{"Authorization":"Bearer abc.def"}', '{"Authorization":"[secret]"}'),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: [secret]"),
        ("Cookie: a=b; c=d\nnext", "Cookie: [secret]\nnext"),
        ("GET /lab?x=1&token=abcdefgh&y=2", "GET /lab?x=1&token=[secret]&y=2"),
        ("url=%3Ftoken%3Dabcdefgh&z", "url=%3Ftoken%3D[secret]&z"),
        ("JUPYTERHUB_API_TOKEN=abcdefgh,", "JUPYTERHUB_API_TOKEN=[secret],"),
        ('"password": "hunter22"', '"password": "[secret]"'),
        ('{\\"token\\": \\"abcdefgh\\"}', '{\\"token\\": \\"[secret]\\"}'),
        ("https://me:pw@pypi.example.org/simple", "https://[secret]@pypi.example.org/simple"),
        (f"user {TOKEN} did", "user [32 hex digits] did"),
        (f"sha256:{TOKEN * 2}", f"sha256:{TOKEN * 2}"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n", "[private key]\n"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[private key]"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
        ("a proxy that listens at 8000", "a proxy that listens at 8000"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out_unknown(
    text: str, left: str, tmp_path: Path
) -> None:
    assert redacted(text, tmp_path) == left


def test_the_script_for_the_host_is_valid_shell_and_copies_nothing_past_the_redactor() -> None:
    for mode in ("evidence", "collect"):
        script = doctor.script(SETTINGS, mode)
        subprocess.run(["sh", "-n", "-c", script], check=True)
    writes = [line for line in script.splitlines() if ">" in line and "$file" in line]
    assert len([line for line in writes if "| redact >" in line]) == 1
    # Half a secret is known to nobody: what cuts lines comes after it.
    cuts = [line for line in script.splitlines() if "| cut -c" in line or "tail -c" in line]
    assert [line for line in cuts if "| redact | cut -c" not in line] == []
    assert "tls.key" not in script.partition("collect() {")[2]


def test_the_file_holds_what_the_host_collected_and_what_was_found(tmp_path: Path) -> None:
    collected = io.BytesIO()
    with tarfile.open(fileobj=collected, mode="w:gz") as tar:
        info = tarfile.TarInfo("doctor/logs/hub")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"log"))
    made = bundle(collected.getvalue(), {"findings": "well\n", "x": "https://me:pw@host/"})
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        found = {m.name: f.read() for m in tar if (f := tar.extractfile(m)) is not None}
    assert found == {
        "doctor/logs/hub": b"log",
        "doctor/findings": b"well\n",
        "doctor/x": b"https://[secret]@host/",
    }


def test_the_file_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = doctor.write("hub/../1", b"x", NOW)
    assert str(path) == "doctor-hub_.._1-20270115T080000Z.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
