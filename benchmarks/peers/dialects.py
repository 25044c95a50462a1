"""How a request for slices is put to each server, and where in its answer the npz lies."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Order = Mapping[str, Any]
Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to ask over HTTP: POST a body to a path."""

    path: str
    wrap: Callable[[Order], object]  # the JSON body of an order
    unwrap: Callable[[Headers, bytes], bytes]  # the npz of an answer


def _as_inference_request(order: Order) -> object:
    """KServe's protocol: a tensor (1, 1) a field; the answer in binary, or the npz would be JSON text."""
    tensors = [
        {"name": name, "shape": [1, 1], "datatype": "BYTES" if isinstance(value, str) else "INT64", "data": [value]}
        for name, value in order.items()
    ]
    return {"inputs": tensors, "outputs": [{"name": "npz", "parameters": {"binary_data": True}}]}


def _from_inference_answer(headers: Headers, body: bytes) -> bytes:
    """Cut off the JSON before the tensor, and the four bytes that say how long its one element is."""
    return body[int(headers["Inference-Header-Content-Length"]) + 4 :]


DIALECTS = {
    "slices": Dialect(path="/v1/slices", wrap=lambda order: order, unwrap=lambda _headers, body: body),
    "mlflow": Dialect(
        path="/invocations",
        wrap=lambda order: {"inputs": [order]},
        unwrap=lambda _headers, body: base64.b64decode(json.loads(body)["predictions"][0]),
    ),
    "triton": Dialect(path="/v2/models/slices/infer", wrap=_as_inference_request, unwrap=_from_inference_answer),
}
