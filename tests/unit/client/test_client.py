"""The client, in front of a hub that only pretends."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from integrable_jupyterhub_client import (
    Hub,
    HubError,
    HubFull,
    HubUnreachable,
    KernelTimeout,
    NotAllowed,
    NotFound,
    Result,
    Session,
    SessionGone,
    StartFailed,
    http,
    session,
)

from tests.unit.client.fake import FakeHub, fake_hub

ROOT = Path(__file__).parents[3]
USER, SERVER = "/hub/api/users/ada", "/hub/api/users/ada/server"
GONE = {"status": 404, "message": "no such user"}
NO_FILE = {"message": "No such file or directory: x", "reason": None}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(http, "PAUSE_S", 0.01)
    with fake_hub() as fake:
        yield fake


@pytest.fixture
def hub(fake: FakeHub) -> Hub:
    return Hub(fake.url, "secret", patience=5)


# --- What is tried again ---------------------------------------------------------------------
@pytest.mark.parametrize("away", [502, 503, None])
def test_a_hub_that_is_away_is_asked_again(fake: FakeHub, hub: Hub, away: int | None) -> None:
    fake.says(f"POST {USER}", away, away, 201)
    assert hub.create_user("ada")
    assert fake.asked == [f"POST {USER}"] * 3


def test_one_false_403_is_asked_again_and_no_second(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {USER}", 403, 201)
    assert hub.create_user("ada")
    fake.says(f"POST {USER}", (403, {"message": "Forbidden"}))
    with pytest.raises(NotAllowed, match="POST /users/ada: 403 Forbidden"):
        hub.create_user("ada")
    assert len(fake.asked) == 4


def test_a_hub_that_stays_away_is_unreachable(fake: FakeHub) -> None:
    fake.says(f"POST {USER}", 503)
    with pytest.raises(HubUnreachable) as caught:
        Hub(fake.url, "secret", patience=0.05).create_user("ada")
    assert caught.value.status == 503
    assert len(fake.asked) > 1


def test_nobody_there_is_unreachable(fake: FakeHub) -> None:
    with pytest.raises(HubUnreachable):
        Hub("http://127.0.0.1:9", "secret", patience=0).create_user("ada")


def test_a_handshake_that_is_cut_is_tried_again_and_a_wrong_certificate_is_not() -> None:
    """A firewall that is loaded, a proxy that starts: the connection is there, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted: list[bytes] = []

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                accepted.append(connection.recv(1))
                connection.close()
            listening.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        with pytest.raises(HubUnreachable):
            Hub(f"https://127.0.0.1:{port}", "secret", patience=3).create_user("ada")
        thread.join(20)
    assert len(accepted) == 2
    cut = requests.exceptions.SSLError("(Caused by SSLError(SSLEOFError(8, 'EOF occurred')))")
    wrong = requests.exceptions.SSLError("SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED')")
    assert (http._cut(cut), http._cut(wrong)) == (True, False)


@pytest.mark.parametrize("away", [503, None])
def test_what_might_be_done_twice_is_not_asked_again(
    fake: FakeHub, hub: Hub, away: int | None
) -> None:
    fake.says("POST /user/ada/api/kernels", away, 201)
    with pytest.raises(HubUnreachable):
        hub.attach("ada", "t").start_kernel()
    fake.says("POST /hub/api/archives/7/restore", away, 204)
    with pytest.raises(HubUnreachable):
        hub.restore_archive("7", "ada")
    assert len(fake.asked) == 2


def test_what_is_asked_once_goes_over_a_new_connection(fake: FakeHub, hub: Hub) -> None:
    fake.says("GET /user/ada/api/status", 200)
    fake.says("POST /user/ada/api/kernels", (201, {"id": "k"}))
    session = hub.attach("ada", "t")
    for _ in range(2):
        session.status()
    session.start_kernel()
    first, second, new = fake.connections
    assert first == second != new


def test_a_full_hub_is_asked_again_when_it_says(fake: FakeHub, hub: Hub) -> None:
    fake.headers = {"Retry-After": "1"}
    fake.says(f"POST {SERVER}", 429, 201)
    hub.start_server("ada")
    assert len(fake.asked) == 2
    fake.says(f"POST {SERVER}", (429, {"message": "as many sessions as allowed"}))
    fake.headers = {"Retry-After": "120"}
    with pytest.raises(HubFull, match="as many sessions") as caught:
        hub.start_server("ada", timeout=5)
    assert (caught.value.retry_after, len(fake.asked)) == (120, 3)


@pytest.mark.parametrize(
    ("status", "kind"), [(302, NotAllowed), (401, NotAllowed), (404, NotFound), (400, HubError)]
)
def test_other_errors_are_told_at_once(fake: FakeHub, hub: Hub, status: int, kind: type) -> None:
    fake.says(f"POST {USER}", (status, b"<html>\nno</html>"))
    with pytest.raises(kind, match=f"POST /users/ada: {status} <html> no</html>$"):
        hub.create_user("ada")
    assert len(fake.asked) == 1


# --- Starts and ends -------------------------------------------------------------------------
def test_a_start_that_takes_long_is_waited_for(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {SERVER}", 202)
    fake.says(
        f"GET {USER}",
        (200, {"servers": {"": {"ready": False}}}),
        (200, {"servers": {"": {"ready": True}}}),
    )
    hub.start_server("ada")
    assert len(fake.asked) == 3


def test_a_start_that_a_stopping_hub_let_go_is_begun_anew(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {SERVER}", 409, 503, 201)
    hub.start_server("ada")
    assert len(fake.asked) == 3


def test_a_start_that_fails_is_told(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {SERVER}", (500, {"message": "no address is free"}), 202)
    with pytest.raises(StartFailed, match="no address is free"):
        hub.start_server("ada")
    fake.says(f"GET {USER}", (200, {"servers": {}}))
    with pytest.raises(StartFailed, match="the server of ada failed to start"):
        hub.start_server("ada")


def will_start(fake: FakeHub) -> None:
    fake.says(f"POST {USER}", 201)
    fake.says(f"POST {SERVER}", 201)
    fake.says(f"POST {USER}/tokens", (201, {"token": "t"}))
    fake.says(f"DELETE {USER}", 204)


def test_a_session_for_the_length_of_a_with_block(fake: FakeHub, hub: Hub) -> None:
    will_start(fake)
    for path in ("data", "data/deep", "data/deep/a.txt"):
        fake.says(f"PUT /user/ada/api/contents/{path}", 201)
    with hub.session("ada", files={"data/deep/a.txt": "käse"}) as s:
        assert (s.url, s.name, s.token) == (f"{fake.url}/user/ada", "ada", "t")
        assert f"DELETE {USER}" not in fake.asked
    assert fake.asked[-4:] == [
        "PUT /user/ada/api/contents/data",
        "PUT /user/ada/api/contents/data/deep",
        "PUT /user/ada/api/contents/data/deep/a.txt",
        f"DELETE {USER}",
    ]
    assert base64.b64decode(fake.bodies[-2]["content"]).decode() == "käse"
    (token,) = (b for b in fake.bodies if b and "scopes" in b)
    assert token["scopes"] == ["access:servers!user=ada"]


def test_a_session_that_cannot_be_filled_is_ended(fake: FakeHub, hub: Hub) -> None:
    will_start(fake)
    fake.says("PUT /user/ada/api/contents/a", (400, {"message": "no"}))
    with pytest.raises(HubError, match="400 no"):
        hub.session("ada", files={"a": b""})
    assert fake.asked[-1] == f"DELETE {USER}"


def test_somebody_elses_user_is_neither_taken_nor_deleted(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {USER}", 409)
    with pytest.raises(HubError, match="there is a user ada already"):
        hub.session("ada")
    fake.says("GET /user/ada/api/status", 200)
    with hub.attach("ada", "t") as s:
        assert s.status() == 200
    assert f"DELETE {USER}" not in fake.asked


def test_a_token_for_nobody_is_not_a_token_that_is_refused(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"POST {USER}/tokens", 403)
    fake.says(f"GET {USER}", 404, 200)
    with pytest.raises(SessionGone, match="there is no user ada"):
        hub.attach("ada")
    with pytest.raises(NotAllowed):
        hub.attach("ada")


def test_purge_is_asked_for(fake: FakeHub, hub: Hub) -> None:
    fake.says(f"DELETE {USER}?purge=1", 204)
    hub.delete_user("ada", purge=True)
    fake.says(f"DELETE {USER}", 404)
    hub.delete_user("ada")
    assert fake.asked == [f"DELETE {USER}?purge=1", f"DELETE {USER}"]


# --- A session -------------------------------------------------------------------------------
def test_a_session_that_is_gone_is_not_a_file_that_is_missing(fake: FakeHub, hub: Hub) -> None:
    call = "GET /user/ada/api/contents/x?type=file&format=base64"
    s = hub.attach("ada", "t")
    for answer in ((404, GONE), (424, {"status": 424, "message": "the session has ended"})):
        fake.says(call, answer)
        with pytest.raises(SessionGone):
            s.get("x")
    fake.says(call, (404, NO_FILE))
    with pytest.raises(NotFound, match="No such file"):
        s.get("x")
    fake.says("DELETE /user/ada/api/contents/x", (404, NO_FILE))
    s.delete("x")


def test_files_come_out_as_they_are_from_all_folders(fake: FakeHub, hub: Hub) -> None:
    tree: dict[str, list[tuple[str, str]]] = {
        "": [("data", "directory"), ("main.ipynb", "notebook")],
        "data": [("data/ä b.bin", "file")],
    }
    for folder, entries in tree.items():
        content = [{"path": path, "type": kind} for path, kind in entries]
        fake.says(
            f"GET /user/ada/api/contents/{folder}?type=directory", (200, {"content": content})
        )
    held = {"data/%C3%A4%20b.bin": b"\0\1", "main.ipynb": b"{ }\n"}
    for path, data in held.items():
        content64 = base64.encodebytes(data).decode()
        fake.says(
            f"GET /user/ada/api/contents/{path}?type=file&format=base64",
            (200, {"content": content64}),
        )
    s = hub.attach("ada", "t")
    assert s.files() == {"data/ä b.bin": b"\0\1", "main.ipynb": b"{ }\n"}
    assert s.notebook("main.ipynb") == {}


def test_links_for_frames() -> None:
    s = Session("https://h/user/ada", "t")
    assert s.link() == "https://h/user/ada/lab?token=t"
    assert (
        s.link(
            "notebooks/ä b.ipynb", save_before_unload=True, prevent_before_unload_propagation=True
        )
        == "https://h/user/ada/notebooks/%C3%A4%20b.ipynb?token=t"
        "&saveBeforeUnload=true&preventBeforeUnloadPropagation=true"
    )


class Kernel:
    """A websocket that answers an execute_request with these messages."""

    def __init__(self, *messages: tuple[str, dict[str, Any]]) -> None:
        self.messages, self.id = list(messages), ""

    def send(self, text: str) -> None:
        self.id = json.loads(text)["header"]["msg_id"]

    def settimeout(self, seconds: float) -> None: ...

    def recv(self) -> str:
        if not self.messages:
            raise websocket.WebSocketTimeoutException
        kind, content = self.messages.pop(0)
        parent = "another" if kind == "foreign" else self.id
        told = {"msg_type": kind, "content": content, "parent_header": {"msg_id": parent}}
        return json.dumps(told)


END: list[tuple[str, dict[str, Any]]] = [
    ("execute_reply", {}),
    ("status", {"execution_state": "idle"}),
]


def talk(*messages: tuple[str, dict[str, Any]], timeout: float = 5) -> Result:
    kernel: Any = Kernel(*messages)
    return session._talk(kernel, "code", timeout)


def test_a_cells_outputs_are_those_of_a_notebook_file() -> None:
    picture = {"data": {"image/png": "…"}, "metadata": {}, "transient": {}}
    value = {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 3}
    result = talk(
        ("status", {"execution_state": "busy"}),
        ("stream", {"name": "stdout", "text": "a"}),
        ("foreign", {}),
        ("stream", {"name": "stdout", "text": "b"}),
        ("stream", {"name": "stderr", "text": "c"}),
        END[1],  # in whichever order they come
        ("display_data", picture),
        ("execute_result", value),
        END[0],
    )
    assert result.outputs == [
        {"output_type": "stream", "name": "stdout", "text": "ab"},
        {"output_type": "stream", "name": "stderr", "text": "c"},
        {"output_type": "display_data", "data": {"image/png": "…"}, "metadata": {}},
        {"output_type": "execute_result"} | value,
    ]
    assert (result.stdout, result.stderr, result.value, result.error) == ("ab", "c", "42", None)
    assert result.text == "abc42"


def test_an_error_is_told_and_no_answer_is_a_timeout() -> None:
    error = {"ename": "NameError", "evalue": "x", "traceback": ["…"]}
    assert talk(("error", error), *END).error == "NameError: x"
    with pytest.raises(KernelTimeout, match=r"after 0\.05 s: 'code'"):
        talk(END[0], timeout=0.05)


def test_a_notebook_runs_up_to_its_first_error(
    fake: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def execute(self: Session, kernel: str, code: str, timeout: float) -> Result:
        ran.append((kernel, code))
        failed = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
        return Result([failed] if code == "bad" else [])

    monkeypatch.setattr(Session, "_execute", execute)
    fake.says("POST /user/ada/api/kernels", (201, {"id": "k"}))
    fake.says("DELETE /user/ada/api/kernels/k", 204)
    cells = [("code", ["a\n", "b"]), ("markdown", "text"), ("code", "bad"), ("code", "never")]
    results = hub.attach("ada", "t").run(
        {
            "metadata": {"kernelspec": {"name": "ir"}},
            "cells": [{"cell_type": kind, "source": source} for kind, source in cells],
        }
    )
    assert ran == [("k", "a\nb"), ("k", "bad")]
    assert [r.error for r in results] == [None, "E: "]
    assert fake.bodies[0] == {"name": "ir"}
    assert fake.asked[-1] == "DELETE /user/ada/api/kernels/k"


def test_a_connection_to_a_kernel_is_tried_again_and_code_is_sent_once(
    fake: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent yet; what a server that is there refuses it will refuse again."""
    monkeypatch.setattr(session, "PAUSE_S", 0.01)
    fake.says("GET /user/ada/api/status", (200, {}))
    tried = []

    def connect(refusals: list[Exception]) -> None:
        def socket(self: Session, kernel: str, timeout: float) -> Any:
            tried.append(kernel)
            if refusals:
                raise refusals.pop(0)
            raise LookupError("connected")

        monkeypatch.setattr(Session, "socket", socket)

    def bad(status: int) -> Exception:
        return websocket.WebSocketBadStatusException(f"Handshake status {status}", status)

    connect([ConnectionResetError("reset"), bad(503)])
    with pytest.raises(LookupError):
        hub.attach("ada", "t").run("1", kernel="k")
    assert tried == ["k"] * 3
    connect([bad(404)])
    with pytest.raises(HubUnreachable, match="kernel k: Handshake status 404"):
        hub.attach("ada", "t").run("1", kernel="k")
    assert len(tried) == 4
    connect([OSError("reset")] * 999)
    with pytest.raises(HubUnreachable, match="reset"):
        Hub(fake.url, "secret", patience=0.05).attach("ada", "t").run("1", kernel="k")


# --- Archives --------------------------------------------------------------------------------
def test_archives_are_listed_fetched_restored_and_deleted(fake: FakeHub, hub: Hub) -> None:
    about = {"id": "a-1", "user": "ada", "created": "2026-01-02T03:04:05+00:00", "size": 9, "x": 1}
    fake.says("GET /hub/api/archives?user=ada", (200, [about]))
    fake.says("GET /hub/api/archives", (200, []))
    fake.says("GET /hub/api/archives/a-1", (200, b"\x1f\x8b"))
    fake.says("DELETE /hub/api/archives/a-1", 204, 404)
    fake.says("POST /hub/api/archives/a-1/restore", 204, (424, {"message": "no session"}))
    (archive,) = hub.archives("ada")
    assert (archive.id, archive.created) == ("a-1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert hub.archives() == []
    assert hub.fetch_archive("a-1") == b"\x1f\x8b"
    hub.restore_archive("a-1", "bob")
    assert fake.bodies[-1] == {"user": "bob"}
    with pytest.raises(SessionGone, match="no session"):
        hub.restore_archive("a-1", "bob")
    hub.delete_archive("a-1")
    hub.delete_archive("a-1")


# --- As a package ----------------------------------------------------------------------------
def test_certificates_are_verified_and_the_environment_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    for ca, verify in ((None, True), (Path("/x.pem"), "/x.pem")):
        hub = Hub("https://h/hub/api/", "secret", ca)
        assert (hub.http.verify, hub.http.trust_env) == (verify, False)
        assert hub.attach("ada", "t").http.verify == verify
        assert (hub.public_url, hub.api_url) == ("https://h", "https://h/hub/api")


def test_no_token_shows_in_what_is_printed() -> None:
    assert "secret" not in repr(Hub("https://h", "secret")._caller)


def test_pip_installs_it_without_an_index(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--target", tmp_path, ROOT / "client"],
        check=True,
        capture_output=True,
    )
    told = subprocess.run(
        [sys.executable, "-c", "import integrable_jupyterhub_client as c; print(c.__file__)"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith(str(tmp_path))
    assert (tmp_path / "integrable_jupyterhub_client" / "py.typed").exists()
