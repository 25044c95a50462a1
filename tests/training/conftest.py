"""What the tests of training share."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def _one_thread_of_linear_algebra() -> Iterator[None]:
    """As in a validation: on shared cores, threads that wait for each other made these tests ten times slower."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
