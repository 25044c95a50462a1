"""What is done with an upload: parsed, measured, compared. Runs in the measuring process; knows nothing of HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from serving.drift.answers import DriftCheckAnswer
from serving.uploads.quantify_answer import QuantifyAnswer, list_quantities
from serving.uploads.slices import Upload, read_upload, to_scan_set
from spect.profile import ReferenceProfile
from spect.quantify import quantify
from spect.scan_check import check_scans


class Task(BaseModel):
    """What is asked of one upload; `content` and `profile` travel beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    max_bytes: int
    seconds: float
    pixel_spacing_mm: float | None = None
    fields: dict[str, str] = {}
    model_sha256: str = ""
    model_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task with its bytes."""

    task: Task
    content: bytes
    profile: bytes = b""  # reference_profile.json, where the task compares with it

    def upload(self) -> Upload:
        """Return what was uploaded."""
        return Upload(content=self.content, pixel_spacing_mm=self.task.pixel_spacing_mm, fields=dict(self.task.fields))


def quantify_upload(job: Job) -> bytes:
    """Return the answer of POST /v1/quantify as JSON."""
    slices = read_upload(job.upload(), max_bytes=job.task.max_bytes)
    quantities = quantify(slices.parsed.counts, pixel_spacing_mm=slices.pixel_spacing_mm)
    answer = QuantifyAnswer(
        slices=list_quantities(quantities),
        pixel_spacing_mm=slices.pixel_spacing_mm,
        pixel_spacing_source=slices.pixel_spacing_source,
        notes=slices.parsed.notes,
    )
    return answer.model_dump_json().encode()


def check_upload(job: Job) -> bytes:
    """Return the answer of POST /v1/drift/check as JSON."""
    return DriftCheckAnswer.from_check(_check(job), model_sha256=job.task.model_sha256).to_json()


def picture_upload(job: Job) -> bytes:
    """Return the answer of POST /v1/drift/check as a picture."""
    from spect.formats.drift_png import drift_check_png  # noqa: PLC0415 — the plots are slow to import

    return drift_check_png(_check(job), title=f"Uploaded scans against model {job.task.model_version}")


def _check(job: Job) -> dict[str, Any]:
    upload, profile = job.upload(), ReferenceProfile.from_json(job.profile)
    scans = to_scan_set(upload, read_upload(upload, max_bytes=job.task.max_bytes))
    return check_scans(profile, scans).to_dict()


TASKS: Mapping[str, Callable[[Job], bytes]] = {
    "quantify": quantify_upload,
    "drift_check": check_upload,
    "drift_picture": picture_upload,
}
