"""Receive an uploaded file: multipart in, the file on disk and the fields of its form out; looks into no file."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.problems import DeadlineError, MalformedRequestError, UnsupportedMediaTypeError
from spect.asked import check_length_mm
from spect.errors import RequestError

FIELD = "file"
SPACING_FIELD = "pixel_spacing_mm"
QUANTIFY_FIELDS = (SPACING_FIELD,)  # what a form may say beside the file
CHECK_FIELDS = (SPACING_FIELD, "level", "pattern", "intensity_unit", "intensity_scaling")
_MAX_FIELDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedUpload:
    """A file on disk (a short one in memory), the pixel spacing if the form says one, and the form's fields."""

    file: BinaryIO
    size: int
    pixel_spacing_mm: float | None
    fields: dict[str, str]


@asynccontextmanager
async def receive_upload(
    request: Request, *, known: Sequence[str], deadline_seconds: float
) -> AsyncIterator[ReceivedUpload]:
    """Read the form: the file, which leaving the context deletes, and fields of known names.

    Raises
    ------
    UnsupportedMediaTypeError
        If the body is no multipart form.
    MalformedRequestError
        If it has no field `file`.
    RequestError
        If it has a field of another name, or one twice.
    DeadlineError
        If it has not come in whole by then: a client that stalls may not keep its place.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise UnsupportedMediaTypeError(
            f"the body is {media_type or 'of no media type'}; send multipart/form-data with a field {FIELD!r}"
        )
    form = await _read_form(request, deadline_seconds)
    try:
        yield _parse_form(form, known)
    finally:
        await form.close()


async def _read_form(request: Request, deadline_seconds: float) -> FormData:
    try:
        async with asyncio.timeout(deadline_seconds):
            return await request.form(max_files=1, max_fields=_MAX_FIELDS)
    except TimeoutError:
        raise DeadlineError(f"the upload took longer than {deadline_seconds:g} s; send less at a time") from None
    except HTTPException:  # whose words are the parser's
        raise MalformedRequestError(
            f"the body is no whole form of one file and at most {_MAX_FIELDS} fields; send multipart/form-data anew"
        ) from None


def _parse_form(form: FormData, known: Sequence[str]) -> ReceivedUpload:
    upload = form.get(FIELD)
    if not isinstance(upload, UploadFile):
        named = ", ".join(repr(name[:40]) for name in form) or "no field"
        raise MalformedRequestError(f"the form holds {named}; send the slices as a file in the field {FIELD!r}")
    _check_names([name for name, _ in form.multi_items()], (FIELD, *known))
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return ReceivedUpload(
        file=upload.file,
        size=upload.size or 0,
        pixel_spacing_mm=_parse_spacing(fields.get(SPACING_FIELD)),
        fields=fields,
    )


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse what would be passed over: a mistyped name would else read as one that was left out."""
    for name in names:
        if name not in known:
            raise RequestError(f"the form has a field {name[:40]!r}, unknown here; its fields are {', '.join(known)}")
        if names.count(name) > 1:
            raise RequestError(f"the form has the field {name!r} {names.count(name)} times; send it once")


def _parse_spacing(text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        spacing: object = float(text)
    except ValueError:
        spacing = text
    return check_length_mm(SPACING_FIELD, spacing)
