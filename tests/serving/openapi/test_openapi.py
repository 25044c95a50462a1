"""The description of the API holds what the service's own tables hold: it cannot tell another story than they do."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from serving.encode import FORMATS
from serving.metrics import OTHER_ROUTE, ROUTE_STATUSES
from serving.openapi import examples as examples_module
from serving.openapi.answers import NOT_DESCRIBED
from serving.openapi.document import build_openapi
from serving.problems import HTTP_REASONS, KINDS, MEDIA_TYPE, problem_type
from serving.schemas import parse_order
from tests.support.asgi_client import AsgiClient
from tests.support.record_examples import WINDOW_SLICES, record

DOCUMENT = build_openapi()
OPERATIONS = [
    (path, method, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]


def test_every_route_and_method_is_described(client: AsgiClient) -> None:
    served = {(route.path, method.lower()) for route in client.app.routes for method in route.methods - {"HEAD"}}
    assert {(path, method) for path, method, _ in OPERATIONS} == served


def test_every_status_that_a_route_is_counted_by_is_described() -> None:
    described = {path.removesuffix("/{name}"): operation["responses"] for path, _, operation in OPERATIONS}
    assert set(described) == set(ROUTE_STATUSES) - {OTHER_ROUTE}
    for route, responses in described.items():
        told = {int(status) for status in responses}
        assert set(ROUTE_STATUSES[route]) - NOT_DESCRIBED == told - ({404} if route == "/page" else set())


def test_every_kind_of_problem_has_its_status_and_its_type_described() -> None:
    problem = DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    names = {kind.name for _, kind in KINDS} | set(HTTP_REASONS.values())
    assert set(problem["type"]["enum"]) == {problem_type(name) for name in names}
    assert {int(kind.status) for _, kind in KINDS} | {int(status) for status in HTTP_REASONS} <= set(
        problem["status"]["enum"]
    )


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_problem_is_described_by_an_example_that_could_be_one(path: str, method: str, operation: dict) -> None:
    schema = DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    for status, answer in operation["responses"].items():
        assert answer["headers"]["X-Synspect-Notice"]["required"], (path, method)
        if status == "200":
            continue
        (media_type,) = answer["content"]
        example = answer["content"][media_type]["example"]
        assert media_type == MEDIA_TYPE
        assert example["status"] == int(status)
        assert example["type"] in schema["type"]["enum"]
        assert ("Retry-After" in answer["headers"]) == (status in {"429", "503"})
        assert ("Allow" in answer["headers"]) == (status == "405")
        assert ("WWW-Authenticate" in answer["headers"]) == (status == "401")


def json_answers() -> list[tuple[str, dict]]:
    answers = [(path, operation["responses"]["200"]["content"]) for path, _, operation in OPERATIONS]
    return [(path, content["application/json"]) for path, content in answers if path.startswith("/v1/")]


@pytest.mark.parametrize(("path", "described"), json_answers())
def test_every_json_answer_has_an_example_of_its_schema(path: str, described: dict) -> None:
    (example,) = described["examples"].values()
    schema = {**described["schema"], "components": DOCUMENT["components"]}
    validator = jsonschema_rs.validator_for(schema)
    validator.validate(example["value"])
    assert not validator.is_valid({})


def test_the_examples_name_what_is_answered(open_client) -> None:
    recorded = record(open_client(drift_sample_every=1, drift_window_slices=WINDOW_SLICES, drift_cpu_share=1))
    examples = json.loads(Path(examples_module.__file__).with_name(examples_module.FILE_NAME).read_text())
    assert set(examples) == set(recorded)
    for name, answer in recorded.items():
        assert set(examples[name]) == set(answer), name


def test_a_method_that_a_path_does_not_know_is_answered_as_described(client: AsgiClient) -> None:
    for path, item in DOCUMENT["paths"].items():
        response = client.request("PUT", path.replace("{name}", "page.css"))
        assert response.status_code == 405
        assert {method.upper() for method in item} <= set(response.headers["allow"].split(", "))
        assert all("405" in operation["responses"] for operation in item.values())


def test_every_format_is_described_and_every_header_of_slices_is_sent(client: AsgiClient) -> None:
    answer = DOCUMENT["paths"]["/v1/slices"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {known.media_type for known in FORMATS.values()}
    sent = client.post("/v1/slices", json={"level": "COR", "pattern": "normal", "count": 1}).headers
    assert {name for name in answer["headers"] if name in sent} == set(answer["headers"])
    assert {name for name in sent if name.startswith("x-synspect-")} <= {name.lower() for name in answer["headers"]}


def test_the_limits_of_count_at_every_matrix_are_described(client: AsgiClient) -> None:
    schema = DOCUMENT["components"]["schemas"]
    limits = client.get("/v1/conditions").json()["limits"]
    finest = max(limits["matrices"])
    words = (
        f"in all at most {limits['max_count']}, {limits['max_pixels'] // finest**2} at matrix {finest}; as a contact "
        f"sheet or JSON at most 256, 64 at matrix {finest}"
    )
    for model in ("SlicesRequest", "MixEntry"):
        assert words in json.dumps(schema[model]["properties"]["count"])


def test_every_example_of_a_body_can_be_served(client: AsgiClient) -> None:
    examples = DOCUMENT["paths"]["/v1/slices"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        order = parse_order(json.dumps(example["value"]).encode())
        response = client.post("/v1/slices", json=example["value"])
        assert (response.status_code, order.count) == (200, 4)


def test_a_token_is_asked_for_where_the_description_says_so(open_client) -> None:
    guarded = open_client(token_sha256="0" * 64)
    for path, method, operation in OPERATIONS:
        is_open = operation.get("security") == []
        status = guarded.request(method.upper(), path.replace("{name}", "page.css")).status_code
        assert (status != 401) == is_open, path
