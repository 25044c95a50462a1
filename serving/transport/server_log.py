"""What the HTTP server says of answers that broke off: nothing more, where a line of ours has said why already."""

import asyncio
import logging

from serving.transport.streamed_answer import IncompleteAnswerError

_SAID_BEFORE = (IncompleteAnswerError, asyncio.CancelledError)


def keep_known_ends_short() -> None:
    """Keep the traceback of a stream that was cut off, or that a stop broke off, out of uvicorn's log."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], _SAID_BEFORE))
