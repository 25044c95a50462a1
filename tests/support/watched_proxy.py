"""A proxy between a command and MLflow's server that acts at one request: kill the caller, hold it, go away.

The command under test is the real one, unchanged: what happens to it happens outside, as in life.
"""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """At the first request whose path and body contain these words, act.

    `before` MLflow sees it, `instead`, so that MLflow never does, or `after` it was done and before it is answered.
    """

    path: str
    body: str = ""
    method: str = "POST"
    when: Literal["before", "instead", "after"]
    act: Callable[[], object]


@dataclass
class WatchedProxy:
    """Forwards everything to `upstream`."""

    upstream: str
    rules: list[Rule] = field(default_factory=list)
    host: str | None = None  # under which name MLflow is asked, where it is not its address
    authorization: str | None = None  # what every request must bring, where it is not None
    is_away: bool = False
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_rule(self, method: str, path: str, body: bytes) -> Rule | None:
        """Return the rule a request meets; each is met once."""
        with self._lock:
            for rule in self.rules:
                if rule.method == method and rule.path in path and rule.body.encode() in body:
                    self.rules.remove(rule)
                    return rule
        return None


@contextmanager
def watched_proxy(upstream: str, *, certificate: tuple[Path, Path] | None = None) -> Iterator[WatchedProxy]:
    """Run a proxy on a free port of loopback, over TLS where a certificate and its key are given."""
    proxy = WatchedProxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, proxy))
    server.daemon_threads = True
    scheme, host = "http", "127.0.0.1"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme, host = "https", "localhost"
    proxy.url = f"{scheme}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: WatchedProxy, *arguments: Any) -> None:
        self._proxy = proxy
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self._proxy.take_rule(self.command, self.path, body)
        if rule is not None and rule.when != "after":
            rule.act()
        if self._proxy.is_away or (rule is not None and rule.when == "instead"):
            self.close_connection = True
        elif self._proxy.authorization not in {None, self.headers.get("Authorization")}:
            self._answer(401, {}, b"who are you?")
        else:
            answer = self._ask(body)
            if rule is not None and rule.when == "after":
                rule.act()
            self._answer(*answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = forward  # noqa: N815 — http.server's names

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self._proxy.upstream)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        if self._proxy.host is not None:
            headers["Host"] = self._proxy.host
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "server", "date"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the caller was killed
            self.close_connection = True


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost that only who is given it trusts, and its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
