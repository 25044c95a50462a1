"""The memory of a worker: which answers are asked for, what the kernel says, and how it is told."""

import pytest
from serving_memory import BEFORE, Answers, Measured, describe_resident, parse_sizes, to_table

from serving.encode import is_streamed
from serving.schemas import parse_order
from spect.errors import RequestError
from spect.formats.writer import FORMATS, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_slice_more_than_is_asked_for_is_refused_or_sent_while_it_is_made(name: str) -> None:
    slices = Answers.of(name).slices
    body = '{{"level": "COR", "pattern": "normal", "count": {}, "matrix": 256}}'

    FORMATS[name].check_count(slices, 256)
    assert not is_streamed(parse_order(body.format(slices).encode()), name)
    if FORMATS[name].needs_all:
        with pytest.raises(RequestError, match=f"count must be at most {slices} "):
            FORMATS[name].check_count(slices + 1, 256)
    else:
        assert is_streamed(parse_order(body.format(slices + 1).encode()), name)


def test_the_kernel_s_sizes_are_read_in_mebibytes() -> None:
    status = "Name:\tpython\nVmPeak:\t 900000 kB\nVmHWM:\t  307200 kB\nVmRSS:\t  262144 kB\nThreads:\t7\n"

    assert parse_sizes(status)["VmHWM"] == 300
    assert parse_sizes(status)["VmRSS"] == 256
    assert "Threads" not in parse_sizes(status)


def test_each_row_holds_one_worker_and_what_it_wrote_before() -> None:
    measured = [
        Measured(
            answers=Answers.of(name),
            before=before,
            resident_before=250 + 90 * place,
            peak_alone=300 + place,
            peak_at_once=400 + place,
        )
        for name in ("npz", "png")
        for place, before in enumerate(BEFORE)
    ]

    assert to_table(measured).splitlines()[2:] == [
        "| npz | 512 | npz | 300 | 2 | 400 |",
        "| npz | 512 | every format | 301 | 2 | 401 |",
        "| png | 64 | npz | 300 | 4 | 400 |",
        "| png | 64 | every format | 301 | 4 | 401 |",
    ]
    assert describe_resident(measured) == (
        "a worker held 250 to 250 MiB after npz, 340 to 340 MiB after every format, 64 slices each"
    )
