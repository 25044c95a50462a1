"""The endpoints: each takes a request apart, asks the worker, and names what it answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.bundle.served_model import ServedModel
from serving.access.guard import AccessGuard
from serving.access.quotas import find_allowance
from serving.answers import describe_conditions, describe_model
from serving.encode import choose_format, choose_media_type, is_streamed
from serving.metrics import CONTENT_TYPE
from serving.openapi.docs_page import docs_page
from serving.openapi.document import build_openapi
from serving.page.files import PAGE_FILES, page_file
from serving.problems import (
    DeadlineError,
    UnsupportedMediaTypeError,
    answer_error,
    answer_http_exception,
    answer_unexpected,
    find_http_reason,
    find_kind,
)
from serving.schemas import Order, parse_order
from serving.transport.body_limit import BodyLimit
from serving.transport.security_headers import SecurityHeaders
from serving.transport.streamed_answer import StreamedAnswer
from serving.transport.timing import ClientGoneError, RequestTimes, finish_unless_gone
from serving.transport.whole_answer import WholeResponse
from serving.uploads.receive import CHECK_FIELDS, QUANTIFY_FIELDS, ReceivedUpload, receive_upload
from serving.worker import Worker
from spect.errors import RequestError, SynspectError
from spect.formats.writer import FORMATS

UPLOAD_PATHS = frozenset({"/v1/quantify", "/v1/drift/check"})
_JSON, _PNG = "application/json", "image/png"
_CLIENT_GONE = 499  # nobody reads it: it labels the request's duration


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    await app.state.worker.start()
    try:
        yield
    finally:
        await app.state.worker.stop()


def build_app(worker: Worker) -> Starlette:
    """Assemble the HTTP surface of one worker."""
    settings, metrics = worker.settings, worker.metrics
    app = Starlette(
        routes=[
            Route("/v1/slices", post_slices, methods=["POST"]),
            Route("/v1/conditions", get_conditions),
            Route("/v1/model", get_model),
            Route("/v1/quantify", post_quantify, methods=["POST"]),
            Route("/v1/drift", get_drift),
            Route("/v1/drift/check", post_drift_check, methods=["POST"]),
            Route("/", get_page),
            Route("/page/{name}", get_page),
            Route("/docs", get_docs),
            Route("/openapi.json", get_openapi),
            Route("/livez", get_livez),
            Route("/healthz", get_livez),
            Route("/readyz", get_readyz),
            Route("/metrics", get_metrics),
        ],
        middleware=[
            Middleware(RequestTimes, metrics=metrics),
            Middleware(SecurityHeaders),
            Middleware(AccessGuard, settings=settings, quotas=worker.quotas, metrics=metrics),
            Middleware(BodyLimit, upload_paths=UPLOAD_PATHS, max_upload_bytes=settings.max_upload_bytes),
        ],
        lifespan=_lifespan,
        exception_handlers={
            SynspectError: _answer_and_count,
            HTTPException: _answer_http_and_count,
            ClientDisconnect: _note_gone,
            ClientGoneError: _note_gone,
            Exception: answer_unexpected,
        },
    )
    app.router.redirect_slashes = False
    app.state.worker = worker
    return app


async def post_slices(request: Request) -> Response:
    """Make slices and send them in the format asked for."""
    worker = _worker(request)
    _check_json(request)
    _check_query(request, known={"layout"})
    order = parse_order(await _receive_body(request, deadline_seconds=worker.settings.deadline_seconds))
    name = choose_format(order, request.headers.get("accept"), request.query_params.get("layout"))
    model = worker.slot.current()
    worker.check_targets(model, order)
    await find_allowance(request).take_slices(order.count)
    if is_streamed(order, name):
        return _stream_order(worker, model, order, name)
    return await finish_unless_gone(request, _serve_order(worker, model, order, name))


async def _serve_order(worker: Worker, model: ServedModel, order: Order, name: str) -> Response:
    batch = await worker.make(model, order)
    answer = await worker.encode(model, order, name, batch)
    worker.deliver(order, batch)
    return WholeResponse(
        answer,
        media_type=FORMATS[name].media_type,
        headers=_describe_slices(model, order, name),
        most_seconds=worker.settings.stream_seconds,
        on_cut_off=worker.metrics.count_incomplete_answer,
    )


def _stream_order(worker: Worker, model: ServedModel, order: Order, name: str) -> Response:
    return StreamedAnswer(
        lambda: worker.open_stream(model, order, name),
        media_type=FORMATS[name].media_type,
        headers=_describe_slices(model, order, name),
        most_seconds=worker.settings.stream_seconds,
        on_cut_off=worker.metrics.count_incomplete_answer,
        on_abandoned=lambda: worker.metrics.count_rejection("abandoned"),
    )


def _describe_slices(model: ServedModel, order: Order, name: str) -> dict[str, str]:
    return {
        "X-Synspect-Model-Version": model.version,
        "X-Synspect-Model-Sha256": model.bundle.sha256,
        "X-Synspect-Seed": str(order.seed),
        "X-Synspect-Native-Spacing": f"{model.bundle.manifest.pixel_spacing_mm:g}",
        "Content-Disposition": f'attachment; filename="synthetic-seed-{order.seed}{FORMATS[name].suffix}"',
    }


async def get_conditions(request: Request) -> Response:
    """Say what can be asked for."""
    return _answer(describe_conditions(_worker(request).slot.current()))


async def get_model(request: Request) -> Response:
    """Say which model answers now."""
    return _answer(describe_model(_worker(request).slot.current()))


async def post_quantify(request: Request) -> Response:
    """Measure uploaded slices."""
    worker = _worker(request)
    with worker.hold_upload():
        async with _receive_upload(request, QUANTIFY_FIELDS) as upload:
            measured = await finish_unless_gone(request, worker.measure("quantify", upload))
    return Response(measured, media_type=_JSON)


async def get_drift(request: Request) -> Response:
    """Say how the last complete window of each condition was judged."""
    worker = _worker(request)
    worker.slot.current()
    report = await asyncio.to_thread(worker.monitor.report)
    return Response(report.to_json(), media_type=_JSON)


async def post_drift_check(request: Request) -> Response:
    """Judge uploaded scans against the reference of the model that answers now; as JSON, or as a picture of it."""
    worker = _worker(request)
    media_type = choose_media_type(request.headers.get("accept"), (_JSON, _PNG))
    model = worker.slot.current()
    task = "drift_check" if media_type == _JSON else "drift_picture"
    with worker.hold_upload():
        async with _receive_upload(request, CHECK_FIELDS) as upload:
            judged = await finish_unless_gone(request, worker.measure(task, upload, model=model))
    return Response(judged, media_type=media_type)


def _receive_upload(request: Request, known: Sequence[str]) -> AbstractAsyncContextManager[ReceivedUpload]:
    return receive_upload(request, known=known, deadline_seconds=_worker(request).settings.deadline_seconds)


async def get_page(request: Request) -> Response:
    """Send the page, or one of its files."""
    name = request.path_params.get("name", "index.html")
    if name not in PAGE_FILES:
        raise HTTPException(404)
    return page_file(name)


async def get_docs(_request: Request) -> Response:
    """Send the API's description for people."""
    return docs_page()


async def get_openapi(_request: Request) -> Response:
    """Send the API's description for programs."""
    return JSONResponse(build_openapi())


async def get_livez(_request: Request) -> Response:
    """Say that the process answers."""
    return JSONResponse({"status": "alive"})


async def get_readyz(request: Request) -> Response:
    """Say that a model is loaded, or why none is."""
    return JSONResponse({"status": "ready", "version": _worker(request).slot.current().version})


async def get_metrics(request: Request) -> Response:
    """Send what Prometheus scrapes."""
    text = await asyncio.to_thread(_worker(request).metrics.render)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


def _answer(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type=_JSON)


async def _answer_and_count(request: Request, error: Exception) -> Response:
    if isinstance(error, SynspectError):
        _worker(request).metrics.count_rejection(find_kind(error).name)
    return await answer_error(request, error)


async def _answer_http_and_count(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        _worker(request).metrics.count_rejection(find_http_reason(error.status_code))
    return await answer_http_exception(request, error)


async def _note_gone(request: Request, _error: Exception) -> Response:
    """Count a client that went away, while its body was read, its slices made or its upload measured."""
    _worker(request).metrics.count_rejection("abandoned")
    return Response(status_code=_CLIENT_GONE)


async def _receive_body(request: Request, *, deadline_seconds: float) -> bytes:
    try:
        async with asyncio.timeout(deadline_seconds):
            return await request.body()
    except TimeoutError:
        raise DeadlineError(f"the body took longer than {deadline_seconds:g} s; send it at once") from None


def _check_query(request: Request, *, known: Set[str]) -> None:
    """Refuse what would be passed over: a mistyped name would else read as one that was left out."""
    for name in request.query_params:
        if name not in known:
            raise RequestError(
                f"the query has a parameter {name[:40]!r}, unknown here; it may have {', '.join(sorted(known))}, and "
                "everything else stands in the body"
            )


def _check_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(
            f"the body is {media_type[:60] or 'of no media type'}; send JSON with Content-Type: application/json"
        )
