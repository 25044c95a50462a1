"""Limits of tokens: requests by the minute, slices by the day, over all workers of a server."""

import concurrent.futures
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from serving.access.quota_store import DAY_SECONDS, QuotaStore
from tests.serving.access.test_tokens import table, written
from tests.support.asgi_client import AsgiClient
from tests.support.tiny_bundle import LATE_GAIN, LATE_INDEX, build_tiny_bundle, unbounded_graph

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS // 2
ASKED = {"level": "COR", "pattern": "normal", "count": 4, "seed": 7}


@pytest.fixture
def store(tmp_path: Path):
    with closing(QuotaStore(tmp_path / "quotas.sqlite")) as opened:
        yield opened


def test_a_bucket_gives_its_requests_at_once_and_then_evenly(store: QuotaStore) -> None:
    take = [store.take_request("a", per_minute=6, now=NOON) for _ in range(7)]
    assert take == [0] * 6 + [pytest.approx(10)]
    assert store.take_request("b", per_minute=6, now=NOON) == 0
    assert store.take_request("a", per_minute=6, now=NOON + 9) == pytest.approx(1)
    assert store.take_request("a", per_minute=6, now=NOON + 10) == 0
    assert store.take_request("a", per_minute=6, now=NOON + 10) > 0


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000])
def test_no_more_requests_pass_than_the_limit_says_whenever_they_come(store: QuotaStore, per_minute: int) -> None:
    rng = np.random.default_rng(per_minute)
    times = NOON + np.sort(rng.uniform(0, 600, size=400))
    passed = [now for now in times if store.take_request("a", per_minute=per_minute, now=float(now)) == 0]
    for start, first in enumerate(passed):
        in_one_minute = sum(now < first + 60 for now in passed[start:])
        assert in_one_minute <= 2 * per_minute  # the bucket that was full, and what flowed in
    assert len(passed) <= per_minute * (1 + 600 / 60)
    assert len(passed) >= min(per_minute, 300)


def test_a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_minute(store: QuotaStore) -> None:
    assert store.take_request("a", per_minute=1, now=NOON) == 0
    assert store.take_request("a", per_minute=1, now=NOON - 3600) <= 60


def test_slices_are_taken_whole_or_not_at_all_and_anew_each_day(store: QuotaStore) -> None:
    assert store.take_slices("a", 60, per_day=100, now=NOON) == 100
    assert store.take_slices("a", 60, per_day=100, now=NOON) == 40
    assert store.take_slices("a", 40, per_day=100, now=NOON) == 40
    assert store.take_slices("a", 1, per_day=100, now=NOON) == 0
    store.give_back("a", 60, taken_at=NOON)
    assert store.take_slices("a", 60, per_day=100, now=NOON) == 60
    assert store.take_slices("a", 100, per_day=100, now=NOON + DAY_SECONDS) == 100
    store.give_back("a", 60, taken_at=NOON)  # of yesterday
    assert store.take_slices("a", 1, per_day=100, now=NOON + DAY_SECONDS) == 0


def test_workers_share_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "quotas.sqlite"

    def take(_: int) -> tuple[int, int]:
        with closing(QuotaStore(path)) as own:
            requests = sum(own.take_request("a", per_minute=40, now=NOON) == 0 for _ in range(20))
            slices = sum(own.take_slices("a", 1, per_day=50, now=NOON) >= 1 for _ in range(20))
        return requests, slices

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        taken = np.sum(list(pool.map(take, range(4))), axis=0)
    assert taken.tolist() == [40, 50]


@pytest.fixture
def limited(open_client, tmp_path: Path):
    """A service with two tokens; each is a function that asks with one of them."""
    text = table("slow", "one", requests_per_minute=3) + table("small", "two", slices_per_day=10)

    def open_one(**changes: object) -> AsgiClient:
        return open_client(tokens_file=written(tmp_path, text), **changes)

    return open_one


def ask(client: AsgiClient, token: str, **body: object):
    headers = {"Authorization": f"Bearer {token}"}
    return client.post("/v1/slices", json={**ASKED, **body}, headers=headers)


def test_a_token_that_asks_too_often_is_told_when_to_ask_again(limited) -> None:
    client = limited()
    assert [ask(client, "one").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(client, "one")
    assert refused.json()["type"] == "urn:synspect:problem:rate"
    assert "the token slow may ask 3 times a minute" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert ask(client, "two").status_code == 200
    assert client.get("/readyz").status_code == 200
    metrics = client.get("/metrics", headers={"Authorization": "Bearer two"}).text
    assert 'synspect_rejected_requests_total{reason="rate"} 2.0' in metrics


def test_a_token_that_has_had_its_slices_of_the_day_is_told_how_many_are_left(limited) -> None:
    client = limited()
    assert [ask(client, "two").status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(client, "two")
    assert refused.json()["type"] == "urn:synspect:problem:quota"
    assert "may have 10 slices a day and 2 are left, got 4" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= DAY_SECONDS
    assert ask(client, "two", count=2).status_code == 200
    never = ask(client, "two", count=11)
    assert never.status_code == 422
    assert "at most 10, all that the token small may have a day" in never.json()["detail"]


def test_what_could_not_be_asked_or_was_not_made_is_not_counted(limited, tmp_path: Path) -> None:
    one_wrong = build_tiny_bundle(tmp_path / "late", graph=unbounded_graph(output_gain=LATE_GAIN))
    client = limited(bundle_dir=one_wrong.path)
    wrong = {"seed": 0, "start": LATE_INDEX - 2}
    beyond = {"count": 5, "mean_counts": 1e6}
    bodies = ({"level": "cortex"}, {"format": "bmp"}, beyond, beyond, wrong, wrong, wrong)
    assert [ask(client, "two", **body).status_code for body in bodies] == [422, 422, 422, 422, 500, 500, 500]
    assert [ask(client, "two", count=5).status_code for _ in range(3)] == [200, 200, 429]


def test_quotas_that_cannot_be_counted_are_not_waived(limited, tmp_path: Path) -> None:
    client = limited(state_dir=tmp_path / "state")
    assert ask(client, "one").status_code == 200
    client.app.state.worker.quotas.close()
    for file in (tmp_path / "state").glob("quotas.sqlite*"):
        file.write_bytes(b"no database" * 100)
    for token in ("one", "two"):
        refused = ask(client, token)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert str(tmp_path) not in refused.text
