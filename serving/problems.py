"""Every error as RFC 9457 problem+json: the one table from an error's class to its status."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.transport.security_headers import SECURITY_HEADERS
from spect.errors import (
    BundleError,
    ConditionError,
    ConfigurationError,
    FormatError,
    InputError,
    IntensityError,
    InvalidOutputError,
    QuantificationError,
    RequestError,
    ServiceError,
    SlicesError,
    SynspectError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class MalformedRequestError(InputError):
    """A body that is not what its media type says."""


class NotAcceptableError(InputError):
    """No format that the client accepts can be written."""


class UnsupportedMediaTypeError(InputError):
    """A body of a media type that this route does not read."""


class PayloadTooLargeError(InputError):
    """A body longer than the route reads."""


class TokenError(InputError):
    """A missing or wrong bearer token."""


class ForbiddenError(InputError):
    """A peer that the settings do not let in."""


class TryLaterError(ServiceError):
    """Nothing is wrong with the request; the same one may succeed later."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OverloadedError(TryLaterError):
    """More slices wait than the service holds."""


class RateError(TryLaterError):
    """A token asks more often than it may."""


class QuotaError(TryLaterError):
    """A token has had its slices of the day."""


class NotReadyError(TryLaterError):
    """No valid bundle is loaded."""


class DeadlineError(ServiceError):
    """The slices were not ready in time."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all errors of a class have in common."""

    status: HTTPStatus
    name: str  # a closed list: it is the problem's type and labels a metric


# The first row that an error is an instance of counts: special classes stand above general ones.
KINDS: tuple[tuple[type[SynspectError], Kind], ...] = (
    (MalformedRequestError, Kind(HTTPStatus.BAD_REQUEST, "malformed")),
    (TokenError, Kind(HTTPStatus.UNAUTHORIZED, "token")),
    (ForbiddenError, Kind(HTTPStatus.FORBIDDEN, "forbidden")),
    (NotAcceptableError, Kind(HTTPStatus.NOT_ACCEPTABLE, "not_acceptable")),
    (PayloadTooLargeError, Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")),
    (UnsupportedMediaTypeError, Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type")),
    (FormatError, Kind(HTTPStatus.BAD_REQUEST, "file")),
    (ConditionError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "condition")),
    (RequestError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "request")),
    (SlicesError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "slices")),
    (IntensityError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "slices")),
    (QuantificationError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "slices")),
    (RateError, Kind(HTTPStatus.TOO_MANY_REQUESTS, "rate")),
    (QuotaError, Kind(HTTPStatus.TOO_MANY_REQUESTS, "quota")),
    (OverloadedError, Kind(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded")),
    (NotReadyError, Kind(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready")),
    (DeadlineError, Kind(HTTPStatus.GATEWAY_TIMEOUT, "deadline")),
    (InvalidOutputError, Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "invalid_output")),
    (ConfigurationError, Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal")),
    (BundleError, Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal")),
    (InputError, Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "request")),
    (SynspectError, Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal")),
)

# What the framework refuses before any code of ours sees it.
HTTP_REASONS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
}

_UNEXPECTED = "the service met an error of its own; its log says more"

# What a client cannot do about slices that went wrong.
_FOR_OPERATORS = "; if it goes on, return to the previous champion (synspect registry rollback)"


def find_kind(error: SynspectError) -> Kind:
    """Return the status and the name of an error."""
    return next(kind for error_class, kind in KINDS if isinstance(error, error_class))


def find_http_reason(status: int) -> str:
    """Return the name of a problem that the framework found."""
    return HTTP_REASONS.get(status) or HTTPStatus(status).name.lower()


def problem_type(name: str) -> str:
    """Return the URI of a problem's name."""
    return f"urn:synspect:problem:{name}"


def problem_response(status: int, name: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Build the response of one problem."""
    body = {
        "type": problem_type(name),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def to_response(error: SynspectError) -> Response:
    """Turn an expected error into its response; what is ours to mend is logged, and its words stay in the log."""
    kind = find_kind(error)
    headers = {}
    if isinstance(error, TryLaterError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, TokenError):
        headers["WWW-Authenticate"] = 'Bearer realm="synspect"'
    detail = " ".join(str(error).split())
    if kind.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        is_output = isinstance(error, InvalidOutputError)
        log.error("%s: %s%s", type(error).__name__, detail, _FOR_OPERATORS if is_output else "")
        detail = detail if is_output else _UNEXPECTED
    return problem_response(kind.status, kind.name, detail, headers)


async def answer_error(_request: Request, error: Exception) -> Response:
    """Answer an error of our own tree."""
    if not isinstance(error, SynspectError):
        raise error
    return to_response(error)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework raises: an unknown path, a method that a path does not know, a broken form."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"nothing is served at {request.url.path[:100]}; see /docs"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.method} is not served at {request.url.path[:100]}; use {allowed}"
    else:
        detail = error.detail
    name = find_http_reason(error.status_code)
    return problem_response(error.status_code, name, detail, error.headers)


async def answer_unexpected(_request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw: the traceback goes to the log, never to the client.

    Starlette sends this from outside of every middleware.
    """
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", _UNEXPECTED, SECURITY_HEADERS)
