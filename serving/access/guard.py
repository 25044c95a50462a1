"""Who may ask, and how often: checked before any route runs."""

import ipaddress
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access.quota_store import QuotaStore
from serving.access.quotas import Allowance, attach_allowance
from serving.access.tokens import Token, Tokens
from serving.metrics import ServiceMetrics
from serving.page.files import PAGE_FILES
from serving.problems import ForbiddenError, TokenError, TryLaterError, find_kind, to_response
from serving.settings import ServiceSettings
from serving.transport.answer_status import AnswerStatus

log = logging.getLogger(__name__)

# Probes carry no token and learn nothing but alive or ready.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
# Files of this package that hold no data: the page must load before it can ask for a token.
STATIC_PATHS = frozenset({"/", "/docs", "/openapi.json", *(f"/page/{name}" for name in PAGE_FILES)})
# A proxy sets them: whoever asked it is somewhere else, wherever the proxy itself stands. uvicorn, told to trust one
# (FORWARDED_ALLOW_IPS), even takes the peer's address from them.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class AccessGuard:
    """Lets in whoever the settings let in, as often as they may; everybody else gets 401, 403 or 429 and the reason."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, quotas: QuotaStore, metrics: ServiceMetrics) -> None:
        self._app = app
        self._tokens = settings.tokens
        self._allow_anonymous = settings.allow_anonymous
        self._quotas = quotas
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return
        try:
            allowance = Allowance(self._check(scope), self._quotas)
            await allowance.take_request()
        except (TokenError, ForbiddenError, TryLaterError) as error:
            self._metrics.count_rejection(find_kind(error).name)
            await to_response(error)(scope, receive, send)
            return
        attach_allowance(scope, allowance)
        await self._pass_on(scope, receive, send, allowance)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, allowance: Allowance) -> None:
        status = AnswerStatus()
        try:
            await self._app(scope, receive, status.noted_by(send))
        except Exception:
            await allowance.settle(None)
            raise
        await allowance.settle(status.value)

    def _check(self, scope: Scope) -> Token | None:
        """Return whose token a request carries, None where none is asked for."""
        path = scope["path"]
        if path in OPEN_PATHS or (self._tokens and path in STATIC_PATHS):
            return None
        if self._tokens:
            return _check_token(Headers(scope=scope).get("authorization"), self._tokens)
        if not self._allow_anonymous:
            _check_local(scope)
        return None


def warn_if_open(settings: ServiceSettings) -> None:
    """Say in the log that everybody is served, where that is so."""
    if settings.allow_anonymous and not settings.tokens:
        log.warning("SYNSPECT_ALLOW_ANONYMOUS is true and no token is set: everybody who reaches this port is served")


def _check_token(header: str | None, tokens: Tokens) -> Token:
    scheme, _, presented = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not presented.strip():
        raise TokenError("a bearer token is needed; send it as Authorization: Bearer TOKEN")
    token = tokens.find(presented.strip())
    if token is None:
        raise TokenError("the bearer token is none of those whose sha256 this service knows; ask who runs it for one")
    return token


def _check_local(scope: Scope) -> None:
    """Refuse whoever is not, or may not be, a program of this machine that asks for this machine."""
    headers = Headers(scope=scope)
    if not is_loopback(scope) or any(name in headers for name in _FORWARDED):
        raise ForbiddenError(
            "only this machine is served while no token is set; set SYNSPECT_TOKEN_SHA256 to the sha256 of a bearer "
            "token or SYNSPECT_TOKENS_FILE to a file of several, or SYNSPECT_ALLOW_ANONYMOUS=true to serve everybody"
        )
    if not _names_this_machine(headers.get("host", "")):
        raise ForbiddenError(
            "while no token is set this machine is served under localhost or its address alone, not under the Host of "
            "this request, which a web page can point here; use http://127.0.0.1, or set SYNSPECT_TOKEN_SHA256"
        )


def _names_this_machine(host: str) -> bool:
    """Whether a Host is an address, localhost, or missing: a page that was led here has the name of its own site."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"", "localhost"} or name.endswith(".localhost")
    return True


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
