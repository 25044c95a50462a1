"""The process that measures uploads: ended where it is late, bounded in memory, started again, never left behind."""

import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import psutil
import pytest

from serving.problems import DeadlineError
from serving.uploads.measuring_process import MeasuringProcess
from spect.errors import FormatError, ServiceError, SlicesError
from tests.support.drift_samples import draw_slices

GIB = 2**30
PIPE_BYTES = 2**16  # that a pipe of Linux holds, give or take a page; the buffer before it holds two
QUANTIFY = {"name": "quantify", "max_bytes": 256 * 2**20, "pixel_spacing_mm": 4.0}


@pytest.fixture(scope="module")
def measuring() -> Iterator[MeasuringProcess]:
    with closing(MeasuringProcess(memory_bytes=3 * GIB)) as process:
        yield process


def npy_of(counts: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, counts)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def upload() -> bytes:
    return npy_of(draw_slices(2, np.random.default_rng(0)).astype(np.float32))


def measured(process: MeasuringProcess, content: bytes, *, seconds: float = 60) -> int:
    return len(json.loads(run(process, content, seconds=seconds))["slices"])


def run(process: MeasuringProcess, content: bytes, *, seconds: float = 60, **changes: int) -> bytes:
    return process.run({**QUANTIFY, **changes}, io.BytesIO(content), len(content), seconds=seconds)


def test_one_process_measures_one_upload_after_the_other(measuring: MeasuringProcess, upload: bytes) -> None:
    assert measured(measuring, upload) == 2
    first = measuring.pid
    assert measured(measuring, upload) == 2
    assert measuring.pid == first


def test_what_is_wrong_with_an_upload_comes_back_as_the_same_error(measuring: MeasuringProcess) -> None:
    with pytest.raises(FormatError, match="the uploaded file is not a file of slices"):
        run(measuring, b"nothing of the kind")
    with pytest.raises(SlicesError, match="slice 0: no brain outline"):
        run(measuring, npy_of(np.zeros((1, 64, 64), np.float32)))


def test_an_upload_that_takes_too_long_frees_its_place_and_the_next_is_measured(
    measuring: MeasuringProcess, upload: bytes
) -> None:
    assert measured(measuring, upload) == 2
    late = measuring.pid
    many = npy_of(np.tile(draw_slices(1, np.random.default_rng(0)).astype(np.float32), (2000, 1, 1)))
    with pytest.raises(DeadlineError, match="not measured within 0 s; send fewer slices"):
        run(measuring, many, seconds=0.2)
    assert not psutil.pid_exists(late or 0)
    assert measured(measuring, upload) == 2
    assert measuring.pid != late


def test_a_process_that_dies_costs_its_upload_alone(measuring: MeasuringProcess, upload: bytes) -> None:
    assert measured(measuring, upload) == 2
    os.kill(measuring.pid or 0, 9)
    for _ in range(2):  # it may be found dead before the upload is sent, or while it is
        try:
            assert measured(measuring, upload) == 2
        except ServiceError:
            continue
    assert measured(measuring, upload) == 2


def test_a_process_that_dies_with_part_of_an_upload_unsent_costs_that_upload_alone(
    measuring: MeasuringProcess, upload: bytes
) -> None:
    assert measured(measuring, upload) == 2
    child = psutil.Process(measuring.pid)
    child.suspend()  # it reads nothing: the pipe fills, and what is left waits in the buffer when it dies
    threading.Timer(0.5, child.kill).start()
    with pytest.raises(ServiceError, match="the next upload starts another"):
        run(measuring, bytes(PIPE_BYTES + 1500))
    assert measured(measuring, upload) == 2


def test_a_file_that_inflates_beyond_the_memory_of_the_process_is_refused(upload: bytes) -> None:
    bomb = npz_of_zeros(slices=60_000)
    assert len(bomb) < 6 * 2**20
    with closing(MeasuringProcess(memory_bytes=GIB)) as small:
        with pytest.raises(FormatError, match="needs more memory than one upload may take"):
            run(small, bomb, max_bytes=4 * GIB)
        assert measured(small, upload) == 2


def npz_of_zeros(*, slices: int) -> bytes:
    """Return an npz of a gigabyte of zeros, packed to a two-hundredth of that."""
    empty = npy_of(np.zeros((0, 64, 64), np.float32))
    header = empty.replace(b"(0, 64, 64), }     ", f"({slices}, 64, 64), }}".ljust(19).encode())
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("counts.npy", "w") as member,
    ):
        member.write(header)
        for _ in range(slices // 1000):
            member.write(bytes(1000 * 64 * 64 * 4))
    return buffer.getvalue()


def test_the_process_ends_with_its_owner(upload: bytes) -> None:
    process = MeasuringProcess(memory_bytes=3 * GIB)
    assert measured(process, upload) == 2
    pid = process.pid or 0
    process.close()
    assert not psutil.pid_exists(pid)
    assert process.pid is None
