"""A real server at its door: what is no request, what BentoML would answer itself, and tokens over two workers."""

import concurrent.futures
import hashlib
import importlib.metadata
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from registry.bundle.directory import Bundle
from serving.openapi.document import build_openapi
from serving.transport.security_headers import SECURITY_HEADERS
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from tests.support.waiting import PATIENCE, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ASKED = {"level": "COR", "pattern": "normal", "count": 2, "seed": 7}
WEBSOCKET = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
HEAD = b"Host: localhost\r\nConnection: close\r\n"


def send(server: ServerProcess, content: bytes, *, hang_up: bool = False) -> bytes:
    """Send bytes, say that no more come if told to, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", server.options.port), timeout=PATIENCE) as connection:
        got = b""
        with suppress(OSError):
            connection.sendall(content)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(2**16):
                got += chunk
    return got


def check_safe(headers: httpx.Headers, text: str) -> None:
    """The headers of security are there, and nothing tells what the service is made of or where it lies."""
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == value
    assert "server" not in headers
    assert not [name for name in headers if "bento" in name or "powered" in name]
    versions = {importlib.metadata.version(name) for name in ("bentoml", "starlette", "uvicorn", "onnxruntime-gpu")}
    told = f"{headers} {text}"
    for word in ("Traceback", 'File "', "site-packages", str(Path(__file__).parents[2]), *versions):
        assert word not in told


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "PROPFIND"])
def test_every_answer_of_every_path_is_safe(server: ServerProcess, method: str) -> None:
    ours = [path.replace("{name}", "page.css") for path in build_openapi()["paths"]]
    bentoml = [
        "/schema.json",
        "/docs.json",
        "/static_content/index.css",
        "/assets/x",
        "/v1/",
        "//",
        "/../../etc/passwd",
    ]
    with httpx.Client(base_url=server.url) as client:
        for path in (*ours, *bentoml):
            response = client.request(method, path)
            check_safe(response.headers, response.text)
            assert response.status_code < 500
            if response.status_code >= 400 and method != "HEAD":
                assert response.headers["content-type"] == "application/problem+json"
                assert response.json()["status"] == response.status_code


@pytest.mark.parametrize(
    "content",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/slices HTTP/1.1\r\n" + HEAD + b"Content-Length: -5\r\n\r\n",
        b"POST /v1/slices HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50) + b"\r\n\r\n",  # a TLS greeting
    ],
)
def test_what_is_no_http_is_a_problem_too(server: ServerProcess, content: bytes) -> None:
    head, _, body = send(server, content).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    headers = httpx.Headers([tuple(line.split(": ", 1)) for line in head.split("\r\n")[1:]])
    assert headers["content-type"] == "application/problem+json"
    assert '"urn:synspect:problem:malformed"' in body
    check_safe(headers, body)


def test_a_head_without_end_is_not_kept(server: ServerProcess) -> None:
    answer = send(server, b"GET /v1/model HTTP/1.1\r\n" + HEAD + b"X-Long: " + b"a" * 2_000_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")  # reset while the rest was on its way, or told why
    assert httpx.get(f"{server.url}/livez", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n", b"404"),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HEAD + b"\r\n", b"404"),
        (b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"403"),
        (b"GET /v1/model HTTP/1.1\r\n" + HEAD + b"X-Forwarded-For: 127.0.0.1\r\n\r\n", b"403"),
        (b"GET /v1/model HTTP/1.1\r\n" + HEAD + b"X-Forwarded-For: 203.0.113.9\r\n\r\n", b"403"),
        (
            b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
            + WEBSOCKET,
            b"200",
        ),
    ],
)
def test_what_a_framework_would_answer_is_answered_by_the_service(
    server: ServerProcess, content: bytes, status: bytes
) -> None:
    answer = send(server, content)
    assert answer.split()[1] == status
    assert b"content-security-policy" in answer


def test_a_client_that_hangs_up_in_its_body_is_no_error_of_the_service(server: ServerProcess, log: Path) -> None:
    def abandoned() -> float:
        text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
        (line,) = [line for line in text.splitlines() if 'rejected_requests_total{reason="abandoned"}' in line]
        return float(line.rpartition(" ")[2])

    before = abandoned()
    begun = ((b"slices", b"application/json", b"{"), (b"quantify", b"multipart/form-data; boundary=x", b"--x\r\n"))
    for path, media_type, body in begun:
        head = b"POST /v1/" + path + b" HTTP/1.1\r\n" + HEAD + b"Content-Type: " + media_type
        send(server, head + b"\r\nContent-Length: 100\r\n\r\n" + body, hang_up=True)
    wait_for("both clients counted", lambda: abandoned() >= before + 2)
    assert "Traceback" not in log.read_text()


def test_two_workers_count_the_uses_of_a_token_together_and_across_a_restart(
    served_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"one").hexdigest()
    tokens.write_text(f'[[token]]\nname = "ward"\nsha256 = "{digest}"\nslices_per_day = 21\n')
    monkeypatch.setenv("SYNSPECT_STATE_DIR", str(tmp_path / "state"))

    def ask(server: ServerProcess) -> int:
        headers = {"Authorization": "Bearer one"}
        return httpx.post(f"{server.url}/v1/slices", json=ASKED, headers=headers, timeout=PATIENCE).status_code

    options = ServerOptions(
        bundle_dir=served_bundle.path,
        port=find_free_port(preferred=0),
        workers=2,
        environment={"SYNSPECT_TOKENS_FILE": str(tokens), "SYNSPECT_ALLOW_ANONYMOUS": "true"},
    )
    with start_server(options) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: ask(server), range(24)))
        assert httpx.post(f"{server.url}/v1/slices", json=ASKED, timeout=PATIENCE).status_code == 401
    assert statuses == [200] * 10 + [429] * 14
    with start_server(options) as server:
        assert ask(server) == 429
