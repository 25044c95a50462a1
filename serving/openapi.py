"""The OpenAPI description, built from the same schemas and the same table of errors that the service runs on."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.answers import ConditionsAnswer, ModelAnswer, QuantifyAnswer
from serving.drift_answers import DriftAnswer, DriftCheckAnswer
from serving.encode import LAYOUTS
from serving.problems import MEDIA_TYPE
from serving.schemas import SlicesRequest
from serving.uploads import FIELD, SPACING_FIELD
from spect.formats.writer import FORMATS, PNG_SINGLE

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_EXAMPLE: Json = {"level": "COR", "pattern": "unilateral", "count": 4, "seed": 7}
_MIX_EXAMPLE: Json = {
    "mix": [
        {"level": "CER", "pattern": "normal", "count": 2},
        {"level": "BG", "pattern": "bilateral", "count": 2, "start": 10},
    ],
    "seed": 7,
}
_PROBLEMS = {
    400: "the body is not what its media type says",
    401: "a bearer token is needed, or another one",
    403: "peers on other machines are not served",
    406: "no format that Accept names can be written",
    413: "the body is too long",
    415: "the route does not read this media type",
    422: "understood, and cannot be served: an unknown level, CER x bilateral, a number out of range",
    500: "the generator made slices that must not be sent, or the service met an error of its own",
    503: "overloaded or not ready; Retry-After says when to ask again",
    504: "not ready in time",
}
_UPLOAD_WORDS = "npz with `counts`, npy, NIfTI, DICOM (NM or PT), or the service's own zip of DICOM"
_UPLOAD_PROBLEMS = (400, 401, 403, 413, 415, 422, 503, 504)
_SCAN_FIELDS: Json = {
    "level": {"type": "string", "description": "of all slices, where the file does not say it"},
    "pattern": {"type": "string", "description": "of all slices, where the file does not say it"},
    "intensity_unit": {"type": "string", "description": "mean counts compare only where it is the model's"},
    "intensity_scaling": {"type": "string", "description": "whole-cohort (if absent) or per-slice"},
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
_HEADERS = {
    "Content-Disposition": "a file name that says synthetic",
    "X-Synspect-Notice": "synthetic, research use only",
    "X-Synspect-Model-Version": "version in the registry, or unregistered",
    "X-Synspect-Model-Sha256": "sha256 of the generator",
    "X-Synspect-Seed": "the seed that made these slices, drawn where none was given",
    "X-Synspect-Native-Spacing": "pixel spacing of the generated slices in mm, before any resampling",
    "Content-Digest": "sha-256 of the body (RFC 9530); absent from answers of more than 512 slices, which are streamed",
}


@cache
def build_openapi() -> Json:
    """Return the OpenAPI 3.1 document."""
    schemas = _schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "synspect",
            "version": "1",
            "summary": "Synthetic cerebral-blood-flow (123I-IMP) brain SPECT slices",
            "description": "Research use only, never for diagnosis; every output is marked synthetic.",
        },
        "paths": _paths(),
        "components": {
            "schemas": {**schemas, "Problem": _problem_schema()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _schemas() -> Json:
    models: tuple[type[BaseModel], ...] = (
        ConditionsAnswer,
        ModelAnswer,
        QuantifyAnswer,
        DriftAnswer,
        DriftCheckAnswer,
    )
    described = [(SlicesRequest, "validation"), *((model, "serialization") for model in models)]
    _, definitions = models_json_schema(described, ref_template=_REFERENCE)  # type: ignore[arg-type]
    found: Json = definitions["$defs"]
    return found


def _paths() -> Json:
    return {
        "/v1/slices": {"post": _post_slices()},
        "/v1/quantify": {
            "post": _operation("Measure slices of a file", _json_answer("QuantifyAnswer"), _UPLOAD_PROBLEMS)
            | {"requestBody": _upload_body()}
        },
        "/v1/conditions": {"get": _operation("What can be asked for", _json_answer("ConditionsAnswer"), (503,))},
        "/v1/model": {"get": _operation("The model that answers now", _json_answer("ModelAnswer"), (503,))},
        "/v1/drift": {"get": _operation("Last complete window of each condition", _json_answer("DriftAnswer"), (503,))},
        "/v1/drift/check": {
            "post": _operation("Judge new scans against the reference", _drift_check_answer(), (*_UPLOAD_PROBLEMS, 406))
            | {"requestBody": _upload_body(_SCAN_FIELDS)}
        },
        "/livez": {"get": _operation("Whether the process answers", _object_answer())},
        "/readyz": {"get": _operation("Whether a model is loaded", _object_answer(), (503,))},
        "/metrics": {"get": _operation("Prometheus metrics", {"description": "text", "content": {"text/plain": {}}})},
    }


def _post_slices() -> Json:
    encoded = {
        known.media_type: {"schema": {"type": "string", "format": "binary", "description": _FORMAT_WORDS[name]}}
        for name, known in FORMATS.items()
    }
    encoded[FORMATS["json"].media_type] = {"schema": {"type": "object", "description": _FORMAT_WORDS["json"]}}
    headers = {name: {"description": what, "schema": {"type": "string"}} for name, what in _HEADERS.items()}
    answer = {"description": "the slices", "headers": headers, "content": encoded}
    body = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REFERENCE.format(model="SlicesRequest")},
                "examples": {"one condition": {"value": _EXAMPLE}, "a mix": {"value": _MIX_EXAMPLE}},
            }
        },
    }
    layout = {
        "name": "layout",
        "in": "query",
        "description": "of pictures: one contact sheet, or a zip of one PNG a slice; chooses png",
        "schema": {"type": "string", "enum": list(LAYOUTS)},
    }
    made = _operation("Make slices", answer, tuple(_PROBLEMS))
    return made | {"parameters": [layout], "requestBody": body}


def _upload_body(further: Json | None = None) -> Json:
    properties = {
        FIELD: {"type": "string", "format": "binary", "description": _UPLOAD_WORDS},
        SPACING_FIELD: {"type": "number", "description": "where the file does not say it; else a field of 256 mm"},
        **(further or {}),
    }
    schema = {"type": "object", "properties": properties, "required": [FIELD]}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _operation(summary: str, answer: Json, problems: tuple[int, ...] = ()) -> Json:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    refused = {str(status): {"description": _PROBLEMS[status], "content": content} for status in problems}
    return {"summary": summary, "responses": {"200": answer, **refused}}


def _json_answer(model: str) -> Json:
    return {
        "description": "the answer",
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model)}}},
    }


def _drift_check_answer() -> Json:
    answer = _json_answer("DriftCheckAnswer")
    answer["content"]["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    return answer


def _object_answer() -> Json:
    return {"description": "the answer", "content": {"application/json": {"schema": {"type": "object"}}}}


def _problem_schema() -> Mapping[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457 problem",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "what was wrong, what was got, what to do"},
        },
    }
