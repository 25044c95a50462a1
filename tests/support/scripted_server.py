"""A server on loopback that answers each connection with the bytes it was told to, and then closes or resets it."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

RESET = b""  # instead of an answer
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass
class ScriptedServer:
    """Where it listens, and the requests it got."""

    url: str
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def scripted_server(*answers: bytes) -> Iterator[ScriptedServer]:
    """Answer the first connections in turn, and refuse those after them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(listener, server, answers))
        thread.start()
        try:
            yield server
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listener: socket.socket, server: ScriptedServer, answers: tuple[bytes, ...]) -> None:
    with listener, suppress(OSError):
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                server.requests.append(_read_request(connection))
                if answer == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                connection.sendall(answer)


def _read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0].partition(b":")[2]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer_of(content: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """Return a success with a Content-Length, which may lie."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(content) if length is None else length}", *lines]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + content


def chunked_answer_of(content: bytes, *, is_whole: bool) -> bytes:
    """Return a success in chunks, with the last chunk or without."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunk = f"{len(content):x}\r\n".encode() + content + b"\r\n"
    return head + chunk + (b"0\r\n\r\n" if is_whole else b"")
