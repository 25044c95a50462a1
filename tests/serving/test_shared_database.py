"""The file that workers share: all of them may open it first, at once."""

import concurrent.futures
import threading
from contextlib import closing
from pathlib import Path

from serving.access.quota_store import QuotaStore

WORKERS = 8
NOON = 1_700_049_600.0


def test_workers_that_open_a_new_file_at_once_all_get_in(tmp_path: Path) -> None:
    together = threading.Barrier(WORKERS)

    def open_and_count(number: int) -> list[float]:
        waits = []
        for file in range(40):
            together.wait(60)
            with closing(QuotaStore(tmp_path / f"{file}.sqlite")) as store:
                waits.append(store.take_request(f"token-{number}", per_minute=1, now=NOON))
        return waits

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        assert list(pool.map(open_and_count, range(WORKERS))) == [[0.0] * 40] * WORKERS
