"""A running service answers over HTTP: every problem as one line, and never fewer slices than were asked for."""

import io
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx
import numpy as np

from spect.errors import FormatError, RequestError, ServiceError
from spect.formats import npz
from spect.scan_check import ScanSet
from spect.slices import Counts, SyntheticBatch
from synspect.patience import BUSY, PatientTransport, Sleep
from synspect.source import Order

TIMEOUT = httpx.Timeout(10.0, connect=5.0, read=150.0)  # the service gives up after 120 s and says so
_NPZ = "application/x-npz"


class ServiceSource:
    """One service, one connection pool."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._url = _parse_url(url)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        patient = PatientTransport(transport or httpx.HTTPTransport(), sleep=sleep)
        self._http = httpx.Client(base_url=self._url, headers=headers, timeout=TIMEOUT, transport=patient)

    def generate(self, order: Order) -> SyntheticBatch:
        """POST /v1/slices."""
        targets = order.targets
        asked = {
            "level": str(order.condition.level),
            "pattern": str(order.condition.pattern),
            "count": order.count,
            "seed": order.seed,
            "start": order.start,
            "mean_counts": targets.mean_counts,
            "left_right_ratio": targets.left_right_ratio,
            "matrix": order.matrix,
            "format": "npz",
        }
        response = self._send("/v1/slices", body={name: value for name, value in asked.items() if value is not None})
        try:
            batch = npz.load_batch(response.content, name="the answer")
        except FormatError as error:
            raise ServiceError(f"{self._url} answered with broken slices: {error}") from None
        if len(batch) != order.count:
            raise ServiceError(f"{self._url} answered with {len(batch)} slices of {order.count}; ask again")
        return batch

    def conditions(self) -> list[dict[str, Any]]:
        """GET /v1/conditions."""
        answer = self._json("/v1/conditions")
        conditions = answer.get("conditions")
        if not isinstance(conditions, list):
            raise ServiceError(f"{self._url}/v1/conditions names no conditions; is it synspect of this version?")
        return conditions

    def model(self) -> dict[str, Any]:
        """GET /v1/model."""
        return self._json("/v1/model")

    def drift(self) -> dict[str, Any]:
        """GET /v1/drift."""
        return self._json("/v1/drift")

    def quantify(self, counts: Counts, *, pixel_spacing_mm: float) -> list[dict[str, float]]:
        """POST /v1/quantify."""
        upload = io.BytesIO()
        npz.write_arrays(upload, {"counts": counts, "pixel_spacing_mm": np.float64(pixel_spacing_mm)})
        answer = self._json("/v1/quantify", upload=upload.getvalue())
        slices = answer.get("slices")
        if not isinstance(slices, list) or len(slices) != len(counts):
            raise ServiceError(f"{self._url}/v1/quantify left slices out; is it synspect of this version?")
        return slices

    def check_drift(self, scans: ScanSet) -> dict[str, Any]:
        """POST /v1/drift/check."""
        upload = io.BytesIO()
        labels = {"level": scans.level, "pattern": scans.pattern, "patient": scans.patient}
        spacing = np.float64(scans.measured_in.pixel_spacing_mm)
        npz.write_arrays(upload, {"counts": scans.counts, **labels, "pixel_spacing_mm": spacing})
        fields = {
            "intensity_unit": scans.measured_in.intensity_unit,
            "intensity_scaling": scans.measured_in.intensity_scaling,
        }
        answer = self._json("/v1/drift/check", upload=upload.getvalue(), fields=fields)
        if not {"verdict", "slices", "unmeasurable", "judgements"} <= set(answer):
            raise ServiceError(f"{self._url}/v1/drift/check gave no judgements; is it synspect of this version?")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(
        self, path: str, *, upload: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        response = self._send(path, upload=upload, fields=fields)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServiceError(f"{self._url}{path} did not answer with a JSON object; is it a synspect service?")
        return answer

    def _send(
        self,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        upload: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """GET, or POST where there is a body or an upload; return a success or raise."""
        files = None if upload is None else {"file": ("slices.npz", upload, _NPZ)}
        method = "GET" if body is None and files is None else "POST"
        try:
            response = self._http.request(method, path, json=body, files=files, data=fields)
        except httpx.TimeoutException:
            raise ServiceError(f"{self._url} did not answer in time; ask for fewer slices or try again later") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServiceError(f"no service answers at {self._url} ({reason}); start one: synspect serve") from None
        if not response.is_success:
            _raise_problem(self._url, response)
        return response


def _parse_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise RequestError(f"{url!r:.100} is no URL; write it like http://127.0.0.1:3000") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise RequestError(f"{url!r:.100} is no address of a service; write it like http://127.0.0.1:3000")
    return str(parsed).rstrip("/")


def _raise_problem(url: str, response: httpx.Response) -> None:
    status = response.status_code
    detail = _problem_detail(response)
    if detail is None:
        raise ServiceError(f"{url} answered {status} and not as synspect does; check the address")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise ServiceError(f"{url} refused: {detail}")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in BUSY:
        raise RequestError(detail)
    raise ServiceError(f"{url} answered {status}: {detail}")


def _problem_detail(response: httpx.Response) -> str | None:
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return None
    try:
        problem = response.json()
    except ValueError:
        return None
    words = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
    return " ".join(str(words).split())[:500] if words else None
