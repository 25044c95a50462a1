"""Who is let in: this machine without a token, everybody with the right one, anybody only where that is set."""

import hashlib
import re

import pytest
from starlette.types import Scope

from serving.access.guard import is_loopback, warn_if_open
from serving.settings import ServiceSettings, load_settings
from spect.errors import ConfigurationError

TOKEN = "correct horse"  # noqa: S105 — of these tests alone
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
LOOPBACK = ("127.0.0.1", 50000)
ELSEWHERE = ("192.0.2.7", 40000)


def test_another_machine_is_refused_while_no_token_is_set(open_client) -> None:
    remote = open_client(peer=ELSEWHERE)
    for path in ("/", "/v1/model", "/metrics", "/docs"):
        response = remote.get(path)
        assert response.status_code == 403
        assert "SYNSPECT_TOKEN_SHA256" in response.json()["detail"]
    assert remote.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Via"])
def test_who_comes_through_a_proxy_is_not_this_machine(open_client, name: str) -> None:
    for peer in (LOOPBACK, ELSEWHERE):  # uvicorn may have taken the peer's address from the header, or not
        refused = open_client(peer=peer).get("/v1/model", headers={name: "127.0.0.1"})
        assert refused.status_code == 403
        assert "SYNSPECT_TOKEN_SHA256" in refused.json()["detail"]
    carried = {name: "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}
    assert open_client(token_sha256=TOKEN_SHA256).get("/v1/model", headers=carried).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:3000", 200),
        ("localhost", 200),
        ("LOCALHOST.:3000", 200),
        ("synspect.localhost:3000", 200),
        ("[::1]:3000", 200),
        ("192.0.2.7:3000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:3000", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_a_web_page_cannot_lead_a_browser_here_under_its_own_name(open_client, host: str, status: int) -> None:
    assert open_client().get("/v1/model", headers={"Host": host}).status_code == status
    assert open_client(allow_anonymous=True).get("/v1/model", headers={"Host": host}).status_code == 200


def test_that_everybody_is_served_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for settings in ({}, {"allow_anonymous": True, "token_sha256": TOKEN_SHA256}):
        warn_if_open(ServiceSettings.model_validate(settings))
    assert caplog.text == ""
    warn_if_open(ServiceSettings(allow_anonymous=True))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "everybody who reaches this port is served" in record.getMessage()


def test_everybody_is_served_where_that_is_set(open_client) -> None:
    assert open_client(peer=ELSEWHERE, allow_anonymous=True).get("/v1/model").status_code == 200


def test_a_token_lets_any_machine_in_and_is_asked_of_every_machine(open_client) -> None:
    for peer in (ELSEWHERE, ("127.0.0.1", 1)):
        client = open_client(peer=peer, token_sha256=TOKEN_SHA256)
        missing = client.get("/v1/model")
        assert missing.status_code == 401
        assert missing.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/v1/model", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/model", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
        assert client.get("/v1/model", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/").status_code == 200
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_only_loopback_addresses_are_this_machine(host: str, is_ours: bool) -> None:
    scope: Scope = {"type": "http", "client": (host, 1)}
    assert is_loopback(scope) is is_ours
    assert not is_loopback({"type": "http", "client": None})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "SYNSPECT_TOKEN_SHA256",
            "secret",
            "must be 64 characters of 0-9 and a-f: the token's sha256 in hexadecimal; set it anew",
        ),
        ("SYNSPECT_WORKERS", "0", "must be greater than or equal to 1, got '0'; set it anew"),
        ("SYNSPECT_WORKERS", "two", "must be a valid integer, got 'two'; set it anew"),
        ("SYNSPECT_MAX_WAITING_SLICES", "10", "must be greater than or equal to 512, got '10'"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=re.escape(f"{name} {words}")):
        load_settings()


def test_a_wrong_token_setting_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNSPECT_TOKEN_SHA256", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
