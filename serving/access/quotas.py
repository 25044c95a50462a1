"""Holds each token to its limits: requests by the minute as they come, slices by the day as they are accepted."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Scope

from serving.access.quota_store import DAY_SECONDS, QuotaStore
from serving.access.tokens import Token
from serving.problems import NotReadyError, QuotaError, RateError
from spect.errors import RequestError, StoreError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_SCOPE_KEY = "synspect.allowance"
_FAILED = 500  # from here on a status says that the service failed, not the request


class Allowance:
    """What the token of one request may still have; of a request without a token everything.

    Parameters
    ----------
    clock
        Tells Unix time, as all workers know it.
    """

    def __init__(self, token: Token | None, store: QuotaStore, *, clock: Callable[[], float] = time.time) -> None:
        self._token, self._store, self._clock = token, store, clock
        self._taken: tuple[int, float] | None = None  # slices, when

    async def take_request(self) -> None:
        """Count the request; raise `RateError` where it comes too soon."""
        if self._token is None or self._token.requests_per_minute is None:
            return
        name, per_minute, now = self._token.name, self._token.requests_per_minute, self._clock()
        wait = await _use(lambda: self._store.take_request(name, per_minute=per_minute, now=now))
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateError(
                f"the token {name} may ask {per_minute} times a minute; ask again in {seconds} s",
                retry_after_seconds=seconds,
            )

    async def take_slices(self, slices: int) -> None:
        """Count slices that are about to be made; raise `QuotaError` where today's are used up."""
        if self._token is None or self._token.slices_per_day is None:
            return
        name, per_day, now = self._token.name, self._token.slices_per_day, self._clock()
        if slices > per_day:
            raise RequestError(
                f"count must be at most {per_day}, all that the token {name} may have a day, got {slices}"
            )
        left = await _use(lambda: self._store.take_slices(name, slices, per_day=per_day, now=now))
        if slices > left:
            seconds = math.ceil(DAY_SECONDS - now % DAY_SECONDS)
            raise QuotaError(
                f"the token {name} may have {per_day} slices a day and {left} are left, got {slices}; ask for fewer, "
                "or after midnight UTC",
                retry_after_seconds=seconds,
            )
        self._taken = (slices, now)

    async def settle(self, status: int | None) -> None:
        """Give the slices back where the service failed: `status` is the answer's, None where it broke off."""
        if self._token is None or self._taken is None or (status is not None and status < _FAILED):
            return
        name, (slices, taken_at) = self._token.name, self._taken
        try:
            await _use(lambda: self._store.give_back(name, slices, taken_at=taken_at))
        except NotReadyError:
            log.warning("%d slices that were not made stay counted against the token %s", slices, name)


async def _use(use: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(use)
    except StoreError as error:
        log.error("%s", error)  # noqa: TRY400 — its cause is in its words
        raise NotReadyError(
            "requests cannot be counted against the limits of their token now; ask again in 5 s", retry_after_seconds=5
        ) from error


def attach_allowance(scope: Scope, allowance: Allowance) -> None:
    """Let the route of a request find what its token may have."""
    scope[_SCOPE_KEY] = allowance


def find_allowance(request: Request) -> Allowance:
    """Return what the token of a request may have."""
    allowance: Allowance = request.scope[_SCOPE_KEY]
    return allowance
