"""How each answer is described: media types, headers and schemas of what is sent, and one problem for each status."""

from http import HTTPStatus
from typing import Any

from serving.metrics import ROUTE_STATUSES
from serving.openapi.examples import SLICES, describe_example
from serving.problems import HTTP_REASONS, KINDS, MEDIA_TYPE, problem_type
from spect.formats.npz import NOTICE
from spect.formats.writer import FORMATS, PNG_SINGLE

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
NOT_DESCRIBED = frozenset({499})  # nobody reads the answer to who went away

# Status: when it is answered, and what an answer's detail may say.
_WHEN = {
    400: (
        "the request is not HTTP, its body is not what its media type says",
        "the body is not JSON (EOF while parsing ...)",
    ),
    401: (
        "a bearer token is needed, or another one",
        "a bearer token is needed; send it as Authorization: Bearer TOKEN",
    ),
    403: ("who asks is not served without a token", "only this machine is served while no token is set; set ..."),
    404: ("nothing is served there", "nothing is served at /page/other.js; see /docs"),
    405: (
        "the path is not served by this method; Allow names those it is",
        "PUT is not served at /v1/slices; use POST",
    ),
    406: ("nothing that Accept names can be written", "Accept is 'text/html'; slices can be sent as application/x-npz"),
    413: ("the body is too long", "the body has 70000 bytes, this route reads at most 65536; send less at a time"),
    415: ("the route does not read this media type", "the body is text/plain; send JSON with Content-Type: ..."),
    422: (
        "understood, and cannot be served: an unknown level, CER x bilateral, a number out of range",
        "unknown level 'cortex'; use one of CER, BG, COR",
    ),
    429: (
        "the token asks too often, or has had its slices of the day; Retry-After says when to ask again",
        "the token ward-7 may ask 60 times a minute; ask again in 1 s",
    ),
    500: (
        "the generator made slices that must not be sent, or the service met an error of its own",
        "the service met an error of its own; its log says more",
    ),
    503: ("overloaded or not ready; Retry-After says when to ask again", "the worker is starting"),
    504: ("not ready in time", "the body took longer than 120 s; send it at once"),
}
_FORMAT_WORDS = {
    "npz": "counts, level, pattern, seed, index, spacing, unit, model, notice; what was measured if asked for",
    "npy": "counts (n, rows, columns) alone; that they are synthetic is in the headers and the file's name",
    "nifti": "a stack (x, y, 1, n), labels in a text extension",
    "dicom": "a zip of one NM object a slice, each a synthetic patient of its own",
    "png": "a contact sheet with colour bar and labels",
    PNG_SINGLE: "with layout=single: a zip of one 16-bit PNG a slice",
    "json": "the same as npz, for a few slices",
}
_NUMBERS: Json = {"type": "array", "items": {"type": "number"}}
_WHOLE: Json = {"type": "array", "items": {"type": "integer"}}
_WORDS: Json = {"type": "array", "items": {"type": "string"}}
_SLICES_JSON: Json = {
    "type": "object",
    "description": _FORMAT_WORDS["json"],
    "required": ["notice", "counts", "level", "pattern", "seed", "index", "pixel_spacing_mm", "model_sha256"],
    "properties": {
        "notice": {"const": NOTICE},
        "counts": {"type": "array", "items": {"type": "array", "items": _NUMBERS}, "description": "(n, rows, columns)"},
        "level": _WORDS,
        "pattern": _WORDS,
        "seed": _WHOLE,
        "index": _WHOLE,
        "pixel_spacing_mm": {"type": "number"},
        "intensity_unit": {"type": "string"},
        "model_version": {"type": "string"},
        "model_sha256": {"type": "string"},
        "orientation": {"type": "string"},
        "mean_counts": {**_NUMBERS, "description": "measured, where a quantity was asked for"},
        "left_right_ratio": {**_NUMBERS, "description": "measured, where a quantity was asked for"},
    },
}
_NOTICE_HEADER = {"X-Synspect-Notice": ("that every output is synthetic", {"const": NOTICE}, True)}
_SLICES_HEADERS = {
    **_NOTICE_HEADER,
    "Content-Disposition": ("a file name that says synthetic", {"type": "string", "pattern": "synthetic-"}, True),
    "X-Synspect-Model-Version": ("version in the registry, or unregistered", {"type": "string"}, True),
    "X-Synspect-Model-Sha256": ("sha256 of the generator", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, True),
    "X-Synspect-Seed": ("the seed that made these slices, drawn where none was given", {"type": "integer"}, True),
    "X-Synspect-Native-Spacing": (
        "pixel spacing of the generated slices in mm, before resampling",
        {"type": "number"},
        True,
    ),
    "Content-Digest": (
        "sha-256 of the body (RFC 9530); absent from answers of more than 512 slices, which are streamed",
        {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/=]{44}:$"},
        False,
    ),
}
_RETRY_AFTER = {"Retry-After": ("seconds to wait before asking again", {"type": "integer", "minimum": 1}, True)}
_ALLOW = {"Allow": ("the methods that the path is served by", {"type": "string"}, True)}
_CHALLENGE = {"WWW-Authenticate": ("the scheme that is asked for", {"type": "string", "pattern": "^Bearer"}, True)}
_FURTHER: dict[int, dict[str, tuple[str, Json, bool]]] = {
    401: _CHALLENGE,
    405: _ALLOW,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def describe_problems(route: str, *further: int) -> Json:
    """Return the problems of a route, by status: those that it is known to answer, and `further` ones."""
    known = {*ROUTE_STATUSES[route], *further} - NOT_DESCRIBED
    return {str(status): _problem(status) for status in sorted(known) if status >= HTTPStatus.BAD_REQUEST}


def _problem(status: int) -> Json:
    when, detail = _WHEN[status]
    title = HTTPStatus(status).phrase
    example = {"type": problem_type(_names(status)[0]), "title": title, "status": status, "detail": detail}
    content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}, "example": example}}
    return {"description": when, "content": content, "headers": _headers(_NOTICE_HEADER | _FURTHER.get(status, {}))}


def _names(status: int) -> list[str]:
    """Return the names of the problems that have a status."""
    ours = [kind.name for _, kind in KINDS if kind.status == status]
    return ours or [HTTP_REASONS[status]]


def problem_schema() -> Json:
    """Return the schema of every problem; its types are the closed list that the service counts by."""
    names = sorted({kind.name for _, kind in KINDS} | set(HTTP_REASONS.values()))
    return {
        "type": "object",
        "description": "RFC 9457 problem",
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
        "properties": {
            "type": {"type": "string", "enum": [problem_type(name) for name in names]},
            "title": {"type": "string"},
            "status": {"type": "integer", "enum": sorted(_WHEN)},
            "detail": {"type": "string", "minLength": 1, "description": "what was wrong, what was got, what to do"},
        },
    }


def slices_answer() -> Json:
    """Describe an answer of slices in every format."""
    content = {
        known.media_type: {"schema": {"type": "string", "format": "binary", "description": _FORMAT_WORDS[name]}}
        for name, known in FORMATS.items()
    }
    content[FORMATS["json"].media_type] = {"schema": _SLICES_JSON, **describe_example(SLICES)}
    return {"description": "the slices", "headers": _headers(_SLICES_HEADERS), "content": content}


def model_answer(model: str) -> Json:
    """Describe an answer whose body is one of our schemas."""
    answer = plain_answer("application/json", {"$ref": REFERENCE.format(model=model)})
    answer["content"]["application/json"] |= describe_example(model)
    return answer


def plain_answer(media_type: str, schema: Json) -> Json:
    """Describe any other answer."""
    content = {media_type: {"schema": schema}}
    return {"description": "the answer", "headers": _headers(_NOTICE_HEADER), "content": content}


def text_answer(media_type: str) -> Json:
    """Describe an answer of text."""
    return plain_answer(media_type, {"type": "string"})


def words_answer(**words: Json) -> Json:
    """Describe a JSON object of these fields and no other."""
    schema = {"type": "object", "required": list(words), "additionalProperties": False, "properties": words}
    return plain_answer("application/json", schema)


def _headers(described: dict[str, tuple[str, Json, bool]]) -> Json:
    return {
        name: {"description": what, "required": is_required, "schema": schema}
        for name, (what, schema, is_required) in described.items()
    }
