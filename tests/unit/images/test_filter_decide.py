"""What the Docker filter lets the hub ask, and what it makes of it; with attacks of all kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docker_filter.decide import (
    FIRST_UID,
    MAX_BODY,
    MAX_ENV,
    MAX_ENV_ENTRY,
    ROLE_LABEL,
    UID_LABEL,
    Create,
    List,
    Ping,
    Refused,
    Request,
    Touch,
    compose,
    is_session,
    parse,
    room,
)
from docker_filter.policy import Policy
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.docker_filter import check
from tests.unit.images.samples import FILTER_POLICY

POLICY = Policy.model_validate(FILTER_POLICY)
IMAGE = POLICY.images[0]
CREATE = "/v1.41/containers/create?name=jupyterhub-session-a"
GOOD: dict[str, Any] = {"Image": IMAGE, "Env": ["A=b", "JUPYTERHUB_API_TOKEN=secret"]}
ID = "0123456789ab" * 5 + "0123"


def create(body: Any, target: str = CREATE) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse("POST", target, raw, POLICY)


# --- What the hub needs ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "target", "asked"),
    [
        ("GET", "/_ping", Ping()),
        ("GET", f"/v1.41/containers/{ID}/json", Touch("inspect", ID)),
        ("GET", "/containers/jupyterhub-session-a/json", Touch("inspect", "jupyterhub-session-a")),
        ("POST", f"/v1.45/containers/{ID}/start", Touch("start", ID)),
        # As docker-py sends it.
        ("DELETE", f"/v1.41/containers/{ID}?v=True&link=False&force=True", Touch("remove", ID)),
        ("GET", "/v1.41/containers/json?limit=-1&all=1&size=0&trunc_cmd=0", List()),
    ],
)
def test_what_the_hub_needs_is_understood(method: str, target: str, asked: Request) -> None:
    assert parse(method, target, b"", POLICY) == asked


def test_a_session_is_a_name_an_image_and_an_environment() -> None:
    assert create(GOOD) == Create("jupyterhub-session-a", IMAGE, tuple(GOOD["Env"]))
    image, env = POLICY.images[1], ("TEXT=käse\nand more = more", "EMPTY=")
    asked = create({"Image": image, "Env": list(env)})
    assert asked == Create("jupyterhub-session-a", image, env)


# --- Attacks: more than the hub may choose ----------------------------------------------------
HOST_CONFIGS: dict[str, dict[str, Any]] = {
    "privileged": {"Privileged": True},
    "the host's root": {"Binds": ["/:/host"]},
    "docker's socket": {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]},
    "mounts": {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
    "another volume": {"Binds": ["jupyterhub_db:/db"]},
    "others' volumes": {"VolumesFrom": ["jupyterhub_db"]},
    "host network": {"NetworkMode": "host"},
    "another's network": {"NetworkMode": "container:jupyterhub_db"},
    "host pid": {"PidMode": "host"},
    "host ipc": {"IpcMode": "host"},
    "host uts": {"UTSMode": "host"},
    "host users": {"UsernsMode": "host"},
    "host cgroup": {"CgroupnsMode": "host"},
    "cgroup parent": {"CgroupParent": "/"},
    "devices": {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]},
    "device rules": {"DeviceCgroupRules": ["a *:* rwm"]},
    "device requests": {"DeviceRequests": [{"Count": -1}]},
    "capabilities": {"CapAdd": ["ALL"]},
    "unconfined": {"SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"]},
    "unmasked": {"MaskedPaths": [], "ReadonlyPaths": []},
    "another runtime": {"Runtime": "runc"},
    "sysctls": {"Sysctls": {"net.ipv4.ip_forward": "1"}},
    "no limits": {"Memory": 0, "PidsLimit": -1},
    "writable root": {"ReadonlyRootfs": False},
    "published ports": {"PublishAllPorts": True},
    "names of others": {"ExtraHosts": ["pypi.org:203.0.113.1"]},
    "groups": {"GroupAdd": ["0"]},
    "for ever": {"RestartPolicy": {"Name": "always"}},
    "logs elsewhere": {"LogConfig": {"Type": "syslog"}},
}


@pytest.mark.parametrize("wanted", HOST_CONFIGS.values(), ids=HOST_CONFIGS.keys())
def test_the_hub_has_no_say_in_how_a_session_is_confined(wanted: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="'HostConfig' is not the hub's to choose"):
        create({**GOOD, "HostConfig": wanted})


@pytest.mark.parametrize(
    "key",
    [
        *("HostConfig", "NetworkingConfig", "User", "Labels", "Cmd", "Entrypoint", "Volumes"),
        *(
            "Hostname",
            "Domainname",
            "MacAddress",
            "Healthcheck",
            "ExposedPorts",
            "Shell",
            "OnBuild",
        ),
        *("image", "ENV", "hostconfig", "Image ", "", "Env\0", "HostConfig.Privileged"),
    ],
)
@pytest.mark.parametrize("value", [None, {}, [], "", 0, False])
def test_no_other_key_is_accepted_not_even_empty(key: str, value: object) -> None:
    with pytest.raises(Refused):
        create({**GOOD, key: value})


@pytest.mark.parametrize(
    "image",
    [
        *("debian", "integrable-jupyterhub-hub:1", f"{IMAGE}x", f" {IMAGE}", f"{IMAGE}\n", ""),
        *(IMAGE.upper(), f"docker.io/library/{IMAGE}", f"{IMAGE}@sha256:{'0' * 64}"),
        *(None, 1, [IMAGE], {IMAGE: IMAGE}),
    ],
)
def test_only_images_for_sessions_are_started(image: object) -> None:
    with pytest.raises(Refused, match="not an image for sessions"):
        create({**GOOD, "Image": image})


@pytest.mark.parametrize("missing", ["Image", "Env"])
def test_both_keys_are_needed(missing: str) -> None:
    with pytest.raises(Refused):
        create({key: value for key, value in GOOD.items() if key != missing})


@pytest.mark.parametrize(
    "env",
    [
        *(None, "A=b", {"A": "b"}, 1, True, [None], [1], [["A=b"]], [{"A": "b"}], ["A"], ["=b"]),
        *([""], ["A=\0"], ["A\0=b"], ["1A=b"], ["A B=c"], ["Ä=b"], ["A\n=b"], ["A=\ud800"]),
        ["A=" + "x" * MAX_ENV_ENTRY],
        ["A=b"] * (MAX_ENV + 1),
    ],
    ids=lambda env: ascii(env)[:30],
)
def test_an_environment_is_a_bounded_list_of_names_and_values(env: object) -> None:
    with pytest.raises(Refused) as caught:
        create({**GOOD, "Env": env})
    assert "x" * 20 not in str(caught.value)


def test_bounds_may_be_reached() -> None:
    longest = "A=" + "x" * (MAX_ENV_ENTRY - 2)
    assert create({**GOOD, "Env": [longest]})
    assert create({**GOOD, "Env": ["A=b"] * MAX_ENV})


@pytest.mark.parametrize(
    "query",
    [
        *("", "?", "?name=", "?name=jupyterhub-session-", "?name=jupyterhub_db", "?name=x"),
        *("?name=xjupyterhub-session-a", "?Name=jupyterhub-session-a"),
        *("?name=jupyterhub-session-a&platform=x", "?platform=x&name=jupyterhub-session-a"),
        *("?name=jupyterhub-session-a&name=jupyterhub_hub", "?name=jupyterhub-session-a;x=1"),
        *("?name=jupyterhub-session-%61", "?name=jupyterhub-session-a%00", "?name=/x"),
        *("?name=jupyterhub-session-a/b", "?name=jupyterhub-session-a#x"),
        "?name=Jupyterhub-session-a",
        *("?name=jupyterhub-session-a\n", "?name=jupyterhub-session-ä"),
        "/?name=jupyterhub-session-a",
        f"?name=jupyterhub-session-{'a' * 45}",
    ],
)  # fmt: skip
def test_a_session_has_a_sessions_name(query: str) -> None:
    with pytest.raises(Refused):
        create(GOOD, f"/v1.41/containers/create{query}")


# --- Attacks: JSON ---------------------------------------------------------------------------
PLAIN = json.dumps(GOOD)[1:-1]


@pytest.mark.parametrize(
    "body",
    [
        f'{{{PLAIN}, "hostconfig": {{"Privileged": true}}}}',
        f'{{{PLAIN}, "\\u0048ostConfig": {{"Privileged": true}}}}',
        f'{{{PLAIN}, "HOSTCONFIG": {{"privileged": true}}}}',
        f'{{{PLAIN}, "Image": "debian"}}',
        f'{{{PLAIN}, "image": "debian"}}',
        f'{{{PLAIN}, "\\u0049mage": "debian"}}',
        f'{{{PLAIN}, "ima\\u0047e": "debian"}}',
        f'{{{PLAIN}, "Env": []}}',
        '{"Image": {"a": 1, "a": 2}, "Env": []}',
        '{"Image": [[{"b": {"C": 1, "c": 2}}]], "Env": []}',
        f"{{{PLAIN}}} {{}}",
        f'{{{PLAIN}}}{{"HostConfig": {{}}}}',
        f"[{{{PLAIN}}}]",
        f"{{{PLAIN},}}",
        f"{{{PLAIN}, 'Env': []}}",
        f"/**/{{{PLAIN}}}",
        f'{{{PLAIN}, "x": NaN}}',
        f'{{"Image": "{IMAGE}", "Env": NaN}}',
        f'{{"Image": "{IMAGE}", "Env": [Infinity]}}',
        f'{{"Image": "{IMAGE}", "Env": {"9" * 10_000}}}',
        f'{{"Image": "{IMAGE}", "Env": ["A=\x01"]}}',
        f'{{"Image": "{IMAGE}", "Env": ["A=\\u0000"]}}',
        f'{{"Image": "{IMAGE}", "Env": ["A=\\udfff"]}}',
        "[" * 50_000,
        '{"Image":' * 20_000,
        f'{{"Image": "{IMAGE}", "Env": {"[" * 50_000}{"]" * 50_000}}}',
        *("", " ", "null", "true", "0", '""', "[]", "{}", "{", "\0", "name=a&Image=b"),
    ],
    ids=lambda body: body[-40:],
)
def test_no_trick_of_json_gets_through(body: str) -> None:
    with pytest.raises(Refused):
        create(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        f'{{{PLAIN}, "Image": "{IMAGE}"}}',
        f'{{{PLAIN}, "image": "{IMAGE}"}}',
        f'{{{PLAIN}, "\\u0049MAGE": "{IMAGE}"}}',
        f'{{{PLAIN}, "x": [{{"y": {{"Key": 1, "kEY": 1}}}}]}}',
    ],
)
def test_keys_that_docker_would_take_for_one_are_refused_before_they_are_looked_at(
    body: str,
) -> None:
    """At any depth, and even where they say the same."""
    with pytest.raises(Refused, match="not plain JSON"):
        create(body.encode())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037"])
def test_only_utf_8_is_read(encoding: str) -> None:
    with pytest.raises(Refused):
        create(json.dumps(GOOD).encode(encoding))


def test_what_is_no_utf_8_is_refused() -> None:
    with pytest.raises(Refused):
        create(json.dumps(GOOD).encode().replace(b"A=b", b"A=\xff"))


def test_a_body_has_a_bound() -> None:
    body = json.dumps(GOOD).encode()
    assert create(body + b" " * (MAX_BODY - len(body)))
    with pytest.raises(Refused) as caught:
        create(body + b" " * (MAX_BODY - len(body) + 1))
    assert caught.value.status == 413


# --- Attacks: other requests -------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "target"),
    [
        # containers
        *[("GET", f"/containers/{ID}/{what}") for what in ("logs", "top", "stats", "changes")],
        *[("GET", f"/containers/{ID}/{what}") for what in ("export", "archive?path=/")],
        *[("POST", f"/containers/{ID}/{what}") for what in ("exec", "attach", "stop", "kill")],
        *[("POST", f"/containers/{ID}/{what}") for what in ("update", "rename?name=x", "pause")],
        *[("POST", f"/containers/{ID}/{what}") for what in ("restart", "wait", "unpause")],
        ("GET", f"/containers/{ID}/attach/ws"),
        ("PUT", f"/containers/{ID}/archive?path=/"),
        ("HEAD", f"/containers/{ID}/archive?path=/"),
        ("GET", "/containers/json"),
        ("GET", "/containers/json?all=1"),
        ("POST", "/containers/prune"),
        ("DELETE", "/containers/"),
        # all else
        *(("POST", f"/exec/{ID}/start"), ("GET", f"/exec/{ID}/json"), ("POST", "/commit")),
        *(("POST", "/images/create?fromImage=x"), ("GET", "/images/json")),
        *(("GET", f"/images/{IMAGE}/json"), ("DELETE", f"/images/{IMAGE}"), ("POST", "/build")),
        *(("POST", "/images/load"), ("GET", "/images/get?names=x")),
        ("POST", f"/images/{IMAGE}/tag?repo=x"),
        *(("POST", "/images/prune"), ("POST", f"/images/{IMAGE}/push"), ("POST", "/session")),
        *(("GET", "/volumes"), ("POST", "/volumes/create"), ("DELETE", "/volumes/jupyterhub_db")),
        *(("GET", "/networks"), ("POST", "/networks/create"), ("DELETE", "/networks/x")),
        ("POST", "/networks/jupyterhub_network/connect"),
        *(("POST", "/swarm/init"), ("POST", "/services/create"), ("GET", "/secrets")),
        *(("GET", "/plugins"), ("POST", "/plugins/pull"), ("POST", "/auth"), ("GET", "/info")),
        *(("GET", "/events"), ("GET", "/system/df"), ("GET", "/version"), ("POST", "/grpc")),
        *(("HEAD", "/_ping"), ("POST", "/_ping"), ("GET", "/"), ("OPTIONS", "*"), ("GET", "")),
        ("CONNECT", "docker:80"),
        # methods
        *[(method, f"/containers/{ID}/json") for method in ("POST", "PUT", "DELETE", "get", "")],
        *[(method, CREATE) for method in ("GET", "PUT", "PATCH", "post", "POST ")],
        # paths
        *[("GET", target) for target in (
            *(f"//containers/{ID}/json", f"/containers//{ID}/json", f"/containers/{ID}//json"),
            *(f"/containers/{ID}/json/", f"/containers/{ID}/json?"),
            *(f"/containers/{ID}/json#x", f"/containers/{ID}/json\n", f" /containers/{ID}/json"),
            *(f"/Containers/{ID}/json", f"/containers/{ID}/JSON", f"/V1.41/containers/{ID}/json"),
            *(f"/v1.41/../containers/{ID}/json", f"/v1/containers/{ID}/json", "/v1.41/v1.41/_ping"),
            *("/containers/../json", "/containers/./json", "/containers/.hidden/json"),
            *("/containers/%2e%2e/json", "/containers/a%2fb/json", "/containers/a%00/json"),
            *("/containers/a/../b/json", "/containers/a/b/json", "/containers/ä/json"),
            *("/containers/a;b/json", "/containers/a\\b/json", "/containers/a b/json"),
            *("/%63ontainers/a/json", f"/containers/{ID}/json%20HTTP/1.1", "/_ping?x", "/_ping/"),
            *("http://docker/_ping", f"http://docker/containers/{ID}/json", "//docker/_ping"),
            *(f"/containers/{ID}/json?size=1", f"/containers/{'a' * 129}/json"),
        )],
        *[("DELETE", f"/containers/a{query}") for query in ("?v=1;x", "?v=%31", "?v=1#", "/?v=1")],
    ],
)  # fmt: skip
def test_all_else_is_refused(method: str, target: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(method, target, b"", POLICY)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", f"/containers/{ID}/start"),
        ("GET", f"/containers/{ID}/json"),
        ("DELETE", f"/containers/{ID}"),
        ("GET", "/_ping"),
    ],
)
def test_a_body_where_none_belongs_is_refused(method: str, target: str) -> None:
    """Docker once took a HostConfig with the start of a container."""
    assert parse(method, target, b"", POLICY)
    with pytest.raises(Refused, match="a body"):
        parse(method, target, b'{"Binds": ["/:/host"]}', POLICY)


# --- How many, and whose ------------------------------------------------------------------------
def listed(*uids: int | None) -> list[dict[str, Any]]:
    """Docker's list of sessions with these uids."""
    return [
        {"Names": [f"/jupyterhub-session-{i}"], "Labels": {UID_LABEL: str(uid)} if uid else {}}
        for i, uid in enumerate(uids)
    ]


@pytest.mark.parametrize(
    ("taken", "uid"),
    [
        ((), FIRST_UID),
        ((FIRST_UID,), FIRST_UID + 1),
        ((FIRST_UID + 1,), FIRST_UID),
        ((FIRST_UID + 2, FIRST_UID), FIRST_UID + 1),
        ((None, FIRST_UID), FIRST_UID + 1),  # one of before sessions had uids of their own
        ((FIRST_UID + 49,), FIRST_UID),  # from when more were allowed
    ],
)
def test_a_session_has_the_lowest_free_uid(taken: tuple[int | None, ...], uid: int) -> None:
    assert room(listed(*taken), "new", POLICY) == uid


def test_there_are_no_more_sessions_than_allowed() -> None:
    full = [FIRST_UID + i for i in range(POLICY.max_sessions)]
    assert room(listed(*full[:-1]), "new", POLICY) == full[-1]
    with pytest.raises(Refused, match=r"as many sessions as allowed exist \(3\)") as caught:
        room(listed(*full), "new", POLICY)
    assert caught.value.status == 429


def test_a_taken_name_is_a_conflict_even_when_all_places_are_taken() -> None:
    """So that a hub that was killed while it made the last one can remove the rest of it."""
    with pytest.raises(Refused) as caught:
        room(listed(None, None, None), "jupyterhub-session-1", POLICY)
    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("labels", "session"),
    [
        ({ROLE_LABEL: "session"}, True),
        ({ROLE_LABEL: "service"}, False),
        ({ROLE_LABEL: "Session"}, False),
        ({UID_LABEL: "session"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_session_is_known_by_its_label(labels: dict[str, str] | None, session: bool) -> None:
    assert is_session({"Config": {"Labels": labels}}) is session


# --- The container -----------------------------------------------------------------------------
def test_a_sessions_container_is_this() -> None:
    wanted = Create("jupyterhub-session-a", IMAGE, ("A=b",))
    uid = FIRST_UID + 7
    sizes = "nosuid,nodev,size=256m,nr_inodes=51200"
    assert compose(wanted, uid, ("/data", "/home/jovyan/", "/tmp"), POLICY, "{profile}") == {
        "Image": IMAGE,
        "Env": ["A=b"],
        "User": "1900000007:100",
        "Labels": {
            "integrable-jupyterhub.role": "session",
            "integrable-jupyterhub.uid": "1900000007",
        },
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Runtime": "integrable-jupyterhub-session",
            "NetworkMode": "jupyterhub_network",
            "Binds": ["/etc/integrable-jupyterhub/session/resolv.conf:/etc/resolv.conf:ro"],
            "Dns": ["127.0.0.1"],
            "ExtraHosts": ["jupyterhub_hub:172.27.0.2", "jupyterhub_proxy:172.27.0.4"],
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", "seccomp={profile}"],
            "ReadonlyRootfs": True,
            "Tmpfs": {
                "/data": f"noexec,{sizes},mode=0700,uid={uid},gid=100",
                "/home/jovyan": f"exec,{sizes},mode=0700,uid={uid},gid=100",
                "/tmp": f"noexec,{sizes},mode=1777",
                "/dev/shm": "noexec,nosuid,nodev,size=64m,nr_inodes=12800,mode=1777",
            },
            "IpcMode": "none",
            "Memory": 1024 * 2**20,
            "MemorySwap": 1024 * 2**20,
            "NanoCpus": 1_500_000_000,
            "CpuShares": 256,
            "OomScoreAdj": 500,
            "PidsLimit": 256,
            "Ulimits": [
                {"Name": "nofile", "Soft": 4096, "Hard": 4096},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "LogConfig": {
                "Type": "local",
                "Config": {
                    "max-size": "1m",
                    "max-file": "1",
                    "compress": "false",
                    "mode": "non-blocking",
                },
            },
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": True,
            "Init": False,
        },
    }


# --- Whatever comes ------------------------------------------------------------------------------
# Docker's words, in all the ways that a parser could be led to read them.
WORDS = [
    "Image",
    "Env",
    "HostConfig",
    "Privileged",
    "Binds",
    "NetworkMode",
    "User",
    "Labels",
    IMAGE,
]
words = st.sampled_from(WORDS).flatmap(
    lambda word: st.sampled_from([word, word.lower(), word.upper(), word.swapcase(), f"{word} "])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | words | st.just("A=b"),
    lambda inner: st.lists(inner) | st.lists(st.tuples(words | st.text(), inner)).map(tuple),
    max_leaves=20,
)


def written(value: object, escape: bool) -> str:
    """As JSON; a tuple of pairs is an object, whose keys may come twice."""
    if isinstance(value, tuple):
        pairs = [f"{written(k, escape)}:{written(v, escape)}" for k, v in value]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(written(v, escape) for v in value)}]"
    if isinstance(value, str) and escape:
        text = "".join(f"\\u{ord(c):04x}" if ord(c) < 2**16 else c for c in value)
        return f'"{text}"'
    return json.dumps(value)


# Two that are right, and something beside or instead.
nearly = st.lists(st.tuples(words, values), max_size=1).flatmap(
    lambda pairs: st.permutations([("Image", IMAGE), ("Env", ["A=b"]), *pairs]).map(tuple)
)
bodies = st.builds(written, values | nearly, st.booleans()).map(
    lambda text: text.encode("utf-8", "replace")
)
targets = st.lists(
    st.sampled_from(
        [
            *("/", "//", "..", "%2e", "v1.41", "containers", "create", "?name=", "json", "start"),
            *("jupyterhub-session-", "a", ID, "exec", "&", "#", "\0", "\n", "archive", "?v=1"),
        ]
    ),
    max_size=9,
).map("".join)
methods = st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "get"])


@given(method=methods, target=targets | st.text(), body=st.just(b"") | st.binary() | bodies)
def test_whatever_comes_is_refused_or_harmless(method: str, target: str, body: bytes) -> None:
    check(f"{method} {target}\n".encode("utf-8", "surrogatepass") + body)


@given(bodies | st.binary())
def test_whatever_body_comes_the_container_is_the_same(body: bytes) -> None:
    assert check(f"POST {CREATE}\n".encode() + body) in ("refused", "create")


@given(st.lists(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}=[^\0\ud800-\udfff]*\Z"), max_size=20))
def test_any_environment_of_text_arrives_as_it_was(env: list[str]) -> None:
    asked = create({"Image": IMAGE, "Env": env})
    assert isinstance(asked, Create)
    assert list(asked.env) == env
