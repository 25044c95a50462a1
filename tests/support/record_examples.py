"""Record the examples of answers in the API's description anew: `python -m tests.support.record_examples`.

The reference model answers; the lists of its answers, and its manifest and card, are cut short.
"""

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client import CollectorRegistry

from serving.metrics import ServiceMetrics
from serving.openapi import examples
from serving.routes import build_app
from serving.settings import ServiceSettings
from serving.worker import Worker
from tests.support.asgi_client import AsgiClient
from tests.support.waiting import wait_for

WINDOW_SLICES = 64
ASKED = {"level": "COR", "pattern": "unilateral", "seed": 7}


def main() -> None:
    """Ask for every JSON answer, and write them, cut short, beside the module that reads them."""
    with TemporaryDirectory() as state:
        settings = ServiceSettings(
            bundle_dir=Path("models/reference"),
            state_dir=Path(state),
            max_waiting_seconds=60,
            drift_sample_every=1,
            drift_window_slices=WINDOW_SLICES,
            drift_cpu_share=1,
        )
        with closing(AsgiClient(build_app(Worker(settings, ServiceMetrics(CollectorRegistry()))))) as client:
            recorded = {name: _cut(answer) for name, answer in record(client).items()}
    path = Path(examples.__file__).with_name(examples.FILE_NAME)
    path.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


def record(client: AsgiClient) -> dict[str, Any]:
    """Return every JSON answer of the API by the name of its schema."""
    slices = client.post("/v1/slices", json={**ASKED, "count": 2, "left_right_ratio": 0.8, "format": "json"}).json()
    file = {"file": ("slices", client.post("/v1/slices", json={**ASKED, "count": WINDOW_SLICES}).content)}
    client.post("/v1/slices", json={**ASKED, "count": 2 * WINDOW_SLICES, "start": 1000})
    return {
        "SlicesAnswer": {**slices, "counts": [[row[20:24] for row in one[31:33]] for one in slices["counts"]]},
        "ConditionsAnswer": client.get("/v1/conditions").json(),
        "ModelAnswer": client.get("/v1/model").json(),
        "QuantifyAnswer": client.post("/v1/quantify", files=file).json(),
        "DriftCheckAnswer": _with_drift_first(client.post("/v1/drift/check", files=file).json()),
        "DriftAnswer": wait_for("a complete window", lambda: _with_window_first(client.get("/v1/drift").json())),
    }


def _with_window_first(answer: dict[str, Any]) -> dict[str, Any] | None:
    complete = [one for one in answer["conditions"] if one["window"] is not None]
    return {**answer, "conditions": complete} if complete else None


def _with_drift_first(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "judgements": sorted(answer["judgements"], key=lambda one: one["verdict"] != "drift")}


def _cut(value: Any) -> Any:
    match value:
        case dict():
            most = 4 if len(value) > 20 else len(value)
            return {name: _cut(held) for name, held in list(value.items())[:most]}
        case list():
            return [_cut(held) for held in value[: 4 if value and isinstance(value[0], float) else 2]]
        case str():
            return value if len(value) <= 200 else value[:200] + "..."
        case _:
            return value


if __name__ == "__main__":
    main()
