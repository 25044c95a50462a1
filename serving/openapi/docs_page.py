"""The description of the API as a page for people: `GET /docs`, nothing from elsewhere."""

import html
import json
from functools import cache
from typing import Any

from starlette.responses import HTMLResponse, Response

from serving.openapi.document import build_openapi


@cache
def _render_docs() -> str:
    document = build_openapi()
    operations = [
        _render_operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [_render_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>synspect API</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/page/page.css"></head>'
        f'<body><header><h1>synspect API</h1><p class="notice">{html.escape(document["info"]["description"])}</p>'
        '<nav><a href="/">page</a> <a href="/openapi.json">openapi.json</a></nav></header><main class="docs">'
        f"{''.join(operations)}<h2>Bodies</h2>{''.join(schemas)}</main></body></html>"
    )


def docs_page() -> Response:
    """Send the OpenAPI description as a readable page."""
    return HTMLResponse(_render_docs())


def _render_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    answers = [
        f"<tr><td>{status}</td><td>{html.escape(answer['description'])}</td>"
        f"<td>{html.escape(', '.join(answer.get('content', {})))}</td></tr>"
        for status, answer in operation["responses"].items()
    ]
    return (
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation['summary'])}.</p>"
        f"{_render_body(path, operation)}<table><tr><th>status</th><th>when</th><th>as</th></tr>{''.join(answers)}"
        "</table></section>"
    )


def _render_body(path: str, operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    ((media_type, content),) = operation["requestBody"]["content"].items()
    if "$ref" not in content["schema"]:
        fields = _render_fields(content["schema"])
        return (
            f"<p><code>{media_type}</code></p>{fields}<pre>curl -F file=@slices.npz http://127.0.0.1:3000{path}</pre>"
        )
    name = content["schema"]["$ref"].rpartition("/")[2]
    example = html.escape(_to_json(content["examples"]["one condition"]["value"]))
    return (
        f'<p><code>{media_type}</code>: <a href="#{name}">{name}</a></p>'
        f"<pre>curl -H 'Content-Type: application/json' -d '{example}' -o batch.npz http://127.0.0.1:3000{path}</pre>"
    )


def _render_schema(name: str, schema: dict[str, Any]) -> str:
    description = html.escape(schema.get("description", ""))
    return f'<section><h3 id="{name}">{name}</h3><p>{description}</p>{_render_fields(schema)}</section>'


def _render_fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"<tr><td><code>{html.escape(name)}</code>{'' if name in required else ' (optional)'}</td>"
        f"<td>{html.escape(_in_words(field))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _in_words(field: dict[str, Any]) -> str:
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    words = []
    for choice in choices:
        limits = {key: value for key, value in choice.items() if key not in {"title", "description", "anyOf"}}
        words.append(_to_json(limits))
    return " ".join([field.get("description", ""), *words]).strip()


def _to_json(value: object) -> str:
    return json.dumps(value)
