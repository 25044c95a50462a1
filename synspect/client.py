"""The Python client: one call, whether a running service answers it or a bundle on disk."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from spect.asked import check_length_mm
from spect.conditions import parse_condition
from spect.density import Targets
from spect.errors import RequestError
from spect.sampling import MAX_SEED
from spect.slices import SyntheticBatch, check_counts
from synspect.source import Order, Progress, SliceSource, find_reference_bundle, generate_in_parts

if TYPE_CHECKING:
    from synspect.http_source import ServiceSource

TOKEN_VARIABLE = "SYNSPECT_TOKEN"  # noqa: S105 — the name of a variable, not a token


class Client:
    """Synthetic slices from a service (`url`) or from a bundle (`bundle`); neither: the bundle of the source tree.

    Parameters
    ----------
    url
        Address of a service, such as http://127.0.0.1:3000.
    bundle
        Directory of a released bundle, or one kept by `synspect registry follow`.
    token
        Bearer token of the service; the variable SYNSPECT_TOKEN where None.
    threads
        Threads of the generator where a bundle answers; None: one a core.
    source
        Anything else that answers, instead of all of these.

    Examples
    --------
    >>> with Client(url="http://127.0.0.1:3000") as client:  # doctest: +SKIP
    ...     batch = client.generate("COR", "unilateral", count=64, seed=7)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        bundle: Path | str | None = None,
        token: str | None = None,
        threads: int | None = None,
        source: SliceSource | None = None,
    ) -> None:
        self._source = source or open_source(url=url, bundle=bundle, token=token, threads=threads)

    def generate(  # noqa: PLR0913 — what is asked for, each a keyword
        self,
        level: str,
        pattern: str,
        *,
        count: int,
        seed: int | None = None,
        start: int = 0,
        left_right_ratio: float | None = None,
        mean_counts: float | None = None,
        matrix: int | None = None,
        progress: Progress = lambda _slices: None,
    ) -> SyntheticBatch:
        """Make slices start to start + count - 1 of a condition; a seed is drawn, and told in the batch, if None.

        `progress` is told how many slices are there, as they come.

        Raises
        ------
        ConditionError, RequestError
            For what cannot be served, with the reason.
        ServiceError
            If the service is out of reach, or failed.
        IncompleteBatchError
            If an answer did not arrive whole, however often it was asked for.
        """
        order = Order(
            condition=parse_condition(level, pattern),
            count=count,
            seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
            start=start,
            targets=Targets(mean_counts=mean_counts, left_right_ratio=left_right_ratio),
            matrix=matrix,
        )
        return generate_in_parts(self._source, order, progress=progress)

    def conditions(self) -> list[dict[str, Any]]:
        """Return what can be asked for, one mapping a condition."""
        return self._source.conditions()

    def model(self) -> dict[str, Any]:
        """Return manifest and card of the model that answers."""
        return self._source.model()

    def quantify(self, counts: object, *, pixel_spacing_mm: float) -> Sequence[Mapping[str, float]]:
        """Measure slices (n, rows, columns): mean_counts, left_right_ratio and mask_fraction of each."""
        spacing = check_length_mm("pixel_spacing_mm", pixel_spacing_mm)
        return self._source.quantify(check_counts(counts), pixel_spacing_mm=spacing)

    def drift(self) -> dict[str, Any]:
        """Return what the service says of its drift; a bundle on disk raises `RequestError`."""
        return self._source.drift()

    def close(self) -> None:
        """Let go of connections; `with Client(...)` does it."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_source(
    *, url: str | None, bundle: Path | str | None, token: str | None = None, threads: int | None = None
) -> SliceSource:
    """Open the service, the named bundle, or models/reference; imports only what the choice needs."""
    if url is not None and bundle is not None:
        raise RequestError("a url and a bundle were both given; slices come from one of them")
    if url is not None:
        return open_service(url, token=token)
    from synspect.bundle_source import BundleSource

    return BundleSource(Path(bundle) if bundle is not None else find_reference_bundle(), threads=threads)


def open_service(url: str, *, token: str | None = None) -> "ServiceSource":
    """Open a service, with the token of SYNSPECT_TOKEN where none is given."""
    from synspect.http_source import ServiceSource

    return ServiceSource(url, token=token or os.environ.get(TOKEN_VARIABLE))
