"""Receive an uploaded file: multipart in, its bytes and the fields of its form out; looks into no file."""

import asyncio
import math
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.requests import Request

from serving.problems import DeadlineError, MalformedRequestError, UnsupportedMediaTypeError
from spect.errors import RequestError

FIELD = "file"
SPACING_FIELD = "pixel_spacing_mm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The bytes of a file, and the pixel spacing if the form says one."""

    content: bytes
    pixel_spacing_mm: float | None
    fields: dict[str, str]


async def receive_upload(request: Request, *, deadline_seconds: float) -> Upload:
    """Read the form.

    Raises
    ------
    UnsupportedMediaTypeError
        If the body is no multipart form.
    MalformedRequestError
        If it has no field `file`.
    DeadlineError
        If it has not come in whole by then: a client that stalls may not keep its place.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise UnsupportedMediaTypeError(
            f"the body is {media_type or 'of no media type'}; send multipart/form-data with a field {FIELD!r}"
        )
    try:
        async with asyncio.timeout(deadline_seconds):
            return await _read_form(request)
    except TimeoutError:
        raise DeadlineError(f"the upload took longer than {deadline_seconds:g} s; send less at a time") from None


async def _read_form(request: Request) -> Upload:
    async with request.form(max_files=1, max_fields=8) as form:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            named = ", ".join(repr(name[:40]) for name in form) or "no field"
            raise MalformedRequestError(f"the form holds {named}; send the slices as a file in the field {FIELD!r}")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        content = await upload.read()
    return Upload(content=content, pixel_spacing_mm=_parse_spacing(fields.get(SPACING_FIELD)), fields=fields)


def _parse_spacing(text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        spacing = float(text)
    except ValueError:
        spacing = math.nan
    if not 0 < spacing < math.inf:
        raise RequestError(f"{SPACING_FIELD} must be a positive length in mm, got {text[:40]!r}")
    return spacing
