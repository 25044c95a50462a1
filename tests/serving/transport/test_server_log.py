"""The HTTP server's own log: known ends of an answer without their traceback, everything else as it was."""

import asyncio
import logging

import pytest

from serving.transport.server_log import keep_known_ends_short
from serving.transport.streamed_answer import IncompleteAnswerError


@pytest.mark.parametrize(
    ("error", "is_news"),
    [(IncompleteAnswerError("cut off"), False), (asyncio.CancelledError(), False), (ValueError("a fault"), True)],
)
def test_only_what_nobody_has_said_yet_is_logged(
    error: BaseException, is_news: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keep_known_ends_short()
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    assert bool(caplog.records) is is_news
    logging.getLogger("uvicorn.error").error("no exception")
    assert caplog.records[-1].message == "no exception"
