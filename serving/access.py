"""Who may ask, and how much they may send: checked before any route runs."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import ServiceMetrics
from serving.page import PAGE_FILES
from serving.problems import ForbiddenError, PayloadTooLargeError, TokenError, find_kind, to_response
from serving.settings import ServiceSettings
from spect.errors import SynspectError

# Probes carry no token and learn nothing but alive or ready.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
# Files of this package that hold no data: the page must load before it can ask for a token.
STATIC_PATHS = frozenset({"/", "/docs", "/openapi.json", *(f"/page/{name}" for name in PAGE_FILES)})
_DEFAULT_BODY_BYTES = 64 * 2**10

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Synspect-Notice": "synthetic, research use only",
}


class AccessGuard:
    """Lets in whoever the settings let in; everybody else gets 401 or 403 and the name of the setting."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
        except (TokenError, ForbiddenError) as error:
            self._metrics.count_rejection(find_kind(error).name)
            await to_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path = scope["path"]
        if path in OPEN_PATHS:
            return
        if self._settings.token_sha256 is not None:
            if path not in STATIC_PATHS:
                _check_token(Headers(scope=scope).get("authorization"), self._settings.token_sha256)
            return
        if not (self._settings.allow_anonymous or is_loopback(scope)):
            raise ForbiddenError(
                "only this machine is served while no token is set; set SYNSPECT_TOKEN_SHA256 to the sha256 of a "
                "bearer token, or SYNSPECT_ALLOW_ANONYMOUS=true to serve everybody"
            )


def is_loopback(scope: Scope) -> bool:
    """Whether the peer is on this machine."""
    client = scope.get("client")
    if client is None:
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _check_token(header: str | None, expected_sha256: str) -> None:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenError("a bearer token is needed; send it as Authorization: Bearer TOKEN")
    digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    if not hmac.compare_digest(digest, expected_sha256):
        raise TokenError("the bearer token is not the one whose sha256 is in SYNSPECT_TOKEN_SHA256")


class BodyLimit:
    """Refuses bodies that are too long: by their Content-Length, and by counting what really comes in."""

    def __init__(self, app: ASGIApp, upload_paths: frozenset[str], max_upload_bytes: int) -> None:
        self._app = app
        self._upload_paths = upload_paths
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a counting `receive`."""
        limit = self._max_upload_bytes if scope["path"] in self._upload_paths else _DEFAULT_BODY_BYTES
        received = 0

        async def counted() -> Message:
            nonlocal received
            if received == 0:
                _check_length(Headers(scope=scope).get("content-length"), limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(f"more than {limit}", limit)
            return message

        await self._app(scope, counted, send)


def _check_length(declared: str | None, limit: int) -> None:
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(declared, limit)


def _too_large(got: str, limit: int) -> SynspectError:
    return PayloadTooLargeError(f"the body has {got} bytes, this route reads at most {limit}; send less at a time")


class SecurityHeaders:
    """Adds the headers that keep a browser from doing more with an answer than showing it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in present)]
            await send(message)

        await self._app(scope, receive, with_headers)
