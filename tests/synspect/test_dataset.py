"""A torch dataset of synthetic slices: no repeats among workers and ranks, the same slices every time."""

import gc
import os
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from spect.errors import ConditionError, RequestError
from spect.sampling import MAX_SEED
from synspect import Client, SyntheticSlices
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server

PAIRS = [("COR", "normal"), ("BG", "unilateral")]


def test_a_sample_is_the_slice_that_the_client_gives(tiny_bundle) -> None:
    dataset = SyntheticSlices(bundle=tiny_bundle.path, conditions=PAIRS, count=3, seed=7, start=10, chunk=2)
    samples = list(dataset)

    expected = Client(bundle=tiny_bundle.path).generate("BG", "unilateral", count=3, seed=7, start=10)
    found = [sample for sample in samples if sample["level"] == "BG"]
    assert [sample["index"] for sample in found] == [10, 11, 12]
    for sample, counts in zip(found, expected.counts, strict=True):
        assert sample["counts"].shape == (1, 64, 64)
        assert sample["counts"].dtype == torch.float32
        np.testing.assert_array_equal(sample["counts"][0].numpy(), counts)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_share_the_slices_without_a_repeat(tiny_bundle, workers) -> None:
    dataset = SyntheticSlices(bundle=tiny_bundle.path, conditions=PAIRS, count=10, seed=7, chunk=2)

    loader = DataLoader(dataset, batch_size=4, num_workers=workers)
    seen = [
        (level, int(index)) for batch in loader for level, index in zip(batch["level"], batch["index"], strict=True)
    ]

    assert sorted(seen) == sorted((level, index) for level, _ in PAIRS for index in range(10))


class CollectingSlices(SyntheticSlices):
    """Collects garbage when it is read."""

    def __iter__(self) -> Iterator[dict]:
        gc.collect()
        yield from super().__iter__()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 of a fork beside threads
def test_a_worker_collects_a_client_that_its_parent_forgot(tiny_bundle) -> None:
    """It waited for ever for threads of the parent's, which a fork does not have."""
    client = Client(bundle=tiny_bundle.path, threads=2)
    client.itself = client  # forgotten, but not gone before the collector comes
    gc.disable()
    try:
        del client
        loader = DataLoader(
            CollectingSlices(bundle=tiny_bundle.path, conditions=PAIRS, count=4), num_workers=1, timeout=30
        )
        assert len(list(loader)) == 8
    finally:
        gc.enable()


def test_a_dataset_travels_to_another_process_as_it_is(tiny_bundle) -> None:
    dataset = SyntheticSlices(bundle=tiny_bundle.path, conditions=PAIRS, count=2, seed=7)

    travelled = pickle.loads(pickle.dumps(dataset))  # noqa: S301 — its own bytes
    for one, other in zip(dataset, travelled, strict=True):
        assert torch.equal(one.pop("counts"), other.pop("counts"))
        assert one == other


@pytest.fixture(scope="module")
def service(tiny_bundle, tmp_path_factory) -> Iterator[ServerProcess]:
    options = ServerOptions(bundle_dir=tiny_bundle.path, port=find_free_port(preferred=0))
    with start_server(options, log_path=tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_share_the_slices_of_a_service_each_on_a_connection_of_its_own(
    service, tiny_bundle, tmp_path, workers
) -> None:
    dataset = RecordingSlices(service.url, conditions=PAIRS, count=10, seed=7, chunk=2, directory=tmp_path)
    samples = [
        (level, int(index), counts)
        for batch in DataLoader(dataset, batch_size=4, num_workers=workers)
        for level, index, counts in zip(batch["level"], batch["index"], batch["counts"], strict=True)
    ]

    assert sorted(sample[:2] for sample in samples) == sorted((level, n) for level, _ in PAIRS for n in range(10))
    with Client(bundle=tiny_bundle.path) as client:
        expected = {level: client.generate(level, pattern, count=10, seed=7).counts for level, pattern in PAIRS}
    for level, index, counts in samples:
        np.testing.assert_allclose(counts[0].numpy(), expected[level][index], atol=0.012)
    assert len(list(tmp_path.iterdir())) == max(workers, 1)  # processes that read


class RecordingSlices(SyntheticSlices):
    """Notes, as a file, each process that reads."""

    def __init__(self, *arguments: object, directory: Path, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._directory = directory

    def __iter__(self) -> Iterator[dict]:
        (self._directory / str(os.getpid())).touch()
        yield from super().__iter__()


def test_ranks_share_the_slices_without_a_repeat(tiny_bundle) -> None:
    shares = [
        {sample["index"] for sample in SyntheticSlices(bundle=tiny_bundle.path, count=9, chunk=2, rank=rank, ranks=2)}
        for rank in range(2)
    ]

    assert shares[0] & shares[1] == set()
    assert shares[0] | shares[1] == set(range(9))


def test_without_a_count_it_never_ends_and_takes_conditions_in_turn(tiny_bundle) -> None:
    samples = list(islice(SyntheticSlices(bundle=tiny_bundle.path, chunk=2), 40))

    assert [sample["condition"] for sample in samples] == list(range(8)) * 5
    assert samples[-1]["index"] == 4


def test_impossible_wishes_are_refused_when_the_dataset_is_made(tiny_bundle) -> None:
    with pytest.raises(ConditionError, match="CER x bilateral"):
        SyntheticSlices(bundle=tiny_bundle.path, conditions=[("CER", "bilateral")])
    with pytest.raises(ConditionError, match="a condition is a pair such as"):
        SyntheticSlices(bundle=tiny_bundle.path, conditions=[("COR",)])
    with pytest.raises(RequestError, match="no condition was asked for"):
        SyntheticSlices(bundle=tiny_bundle.path, conditions=[])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rank": 2, "ranks": 2}, "rank must be an integer from 0 to 1, got 2"),
        ({"ranks": 0}, "ranks must be an integer from 1"),
        ({"chunk": 0}, "chunk must be an integer from 1 to 16384, got 0"),
        ({"chunk": 16_385}, "chunk must be an integer from 1 to 16384, got 16385"),
        ({"chunk": 1.5}, "chunk must be an integer from 1 to 16384, got 1.5"),
        ({"count": 0}, "count must be an integer from 1"),
        ({"count": "3"}, "count must be an integer from 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"start": -1}, "start must be an integer from 0"),
        ({"start": MAX_SEED, "count": 2}, "start must be an integer from 0"),
        ({"matrix": 100}, "matrix must be one of 64, 128, 256, got 100"),
    ],
)
def test_impossible_numbers_are_refused_when_the_dataset_is_made(tiny_bundle, wrong: dict, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        SyntheticSlices(bundle=tiny_bundle.path, **wrong)
    assert str(caught.value).startswith(words)
