"""The OpenAPI description, built from the same schemas and the same table of errors that the service runs on."""

import re
from functools import cache

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.answers import ConditionsAnswer, ModelAnswer
from serving.drift.answers import DriftAnswer, DriftCheckAnswer
from serving.encode import LAYOUTS
from serving.openapi.answers import (
    REFERENCE,
    Json,
    describe_problems,
    model_answer,
    plain_answer,
    problem_schema,
    slices_answer,
    text_answer,
    words_answer,
)
from serving.page.files import PAGE_FILES
from serving.schemas import SlicesRequest
from serving.uploads.quantify_answer import QuantifyAnswer
from serving.uploads.receive import FIELD, SPACING_FIELD

_EXAMPLE: Json = {"level": "COR", "pattern": "unilateral", "count": 4, "seed": 7}
_MIX_EXAMPLE: Json = {
    "mix": [
        {"level": "CER", "pattern": "normal", "count": 2},
        {"level": "BG", "pattern": "bilateral", "count": 2, "start": 10},
    ],
    "seed": 7,
}
_TAGS = {
    "slices": "synthetic slices",
    "model": "what answers, and how its output stands to the reference",
    "scans": "slices of one's own: nothing of them is kept",
    "operations": "for probes and Prometheus",
    "page": "for people",
}
_BEARER_WORDS = "asked for where the service has tokens; without any, this machine alone is served"
_READY: Json = words_answer(status={"const": "ready"}, version={"type": "string"})
_ANY_OBJECT: Json = plain_answer("application/json", {"type": "object"})
_UPLOAD_WORDS = "npz with `counts`, npy, NIfTI, DICOM (NM or PT), or the service's own zip of DICOM"
_SCAN_FIELDS: Json = {
    "level": {"type": "string", "description": "of all slices, where the file does not say it"},
    "pattern": {"type": "string", "description": "of all slices, where the file does not say it"},
    "intensity_unit": {"type": "string", "description": "mean counts compare only where it is the model's"},
    "intensity_scaling": {"type": "string", "description": "whole-cohort (if absent) or per-slice"},
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
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": what} for name, what in _TAGS.items()],
        "paths": _paths(),
        "components": {
            "schemas": {**schemas, "Problem": problem_schema()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER_WORDS}},
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
    _, definitions = models_json_schema(described, ref_template=REFERENCE)  # type: ignore[arg-type]
    found: Json = definitions["$defs"]
    return found


def _paths() -> Json:
    return {
        "/v1/slices": {"post": _post_slices()},
        "/v1/conditions": {"get": _get("/v1/conditions", "What can be asked for", model_answer("ConditionsAnswer"))},
        "/v1/model": {"get": _get("/v1/model", "The model that answers now", model_answer("ModelAnswer"))},
        "/v1/quantify": {
            "post": _post_file("/v1/quantify", "Measure slices of a file", model_answer("QuantifyAnswer"))
        },
        "/v1/drift": {"get": _get("/v1/drift", "Last complete window of each condition", model_answer("DriftAnswer"))},
        "/v1/drift/check": {"post": _post_drift_check()},
        "/livez": {"get": _open("/livez", "Whether the process answers", words_answer(status={"const": "alive"}))},
        "/healthz": {"get": _open("/healthz", "The same as /livez", words_answer(status={"const": "alive"}))},
        "/readyz": {"get": _open("/readyz", "Whether a model is loaded", _READY)},
        "/metrics": {"get": _get("/metrics", "Prometheus metrics", text_answer("text/plain"), tag="operations")},
        "/": {"get": _open("/", "The page for people", text_answer("text/html"))},
        "/page/{name}": {"get": _get_page_file()},
        "/docs": {"get": _open("/docs", "This description for people", text_answer("text/html"))},
        "/openapi.json": {"get": _open("/openapi.json", "This description for programs", _ANY_OBJECT)},
    }


def _post_slices() -> Json:
    body = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REFERENCE.format(model="SlicesRequest")},
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
    described = _operation("/v1/slices", "Make slices", slices_answer(), tag="slices")
    return described | {"parameters": [layout], "requestBody": body}


def _post_drift_check() -> Json:
    answer = model_answer("DriftCheckAnswer")
    answer["content"]["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    return _post_file("/v1/drift/check", "Judge new scans against the reference", answer, _SCAN_FIELDS)


def _post_file(route: str, summary: str, answer: Json, further: Json | None = None) -> Json:
    properties = {
        FIELD: {"type": "string", "format": "binary", "description": _UPLOAD_WORDS},
        SPACING_FIELD: {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "where the file does not say it; else a field of 256 mm",
        },
        **(further or {}),
    }
    schema = {"type": "object", "properties": properties, "required": [FIELD], "additionalProperties": False}
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return _operation(route, summary, answer, tag="scans") | {"requestBody": body}


def _get_page_file() -> Json:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(PAGE_FILES)}}
    answer = text_answer("text/html")
    answer["content"] |= text_answer("text/css")["content"] | text_answer("text/javascript")["content"]
    described = _operation("/page", "The files of the page", answer, tag="page", further=(404,))
    return described | {"parameters": [name], "security": []}


def _get(route: str, summary: str, answer: Json, *, tag: str = "model") -> Json:
    return _operation(route, summary, answer, tag=tag)


def _open(route: str, summary: str, answer: Json) -> Json:
    """Describe a route that asks for no token."""
    tag = "operations" if route.endswith("z") else "page"
    return _operation(route, summary, answer, tag=tag) | {"security": []}


def _operation(route: str, summary: str, answer: Json, *, tag: str, further: tuple[int, ...] = ()) -> Json:
    words = re.sub(r"\W+", "_", route.removeprefix("/v1")).strip("_") or "index"
    return {
        "operationId": words,
        "summary": summary,
        "tags": [tag],
        "responses": {"200": answer, **describe_problems(route, *further)},
    }
