"""A profile of the service: samples are put to parts by their innermost frame, and weighed by processor time."""

import pytest
from profiling.stacks import DRIFT_THREAD, NO_PYTHON, NOT_SEEN, REST, parse_stacks, share_out, sum_in_the_path

WORKER = 'process 7:"python -c import runpy; from synspect import lifeline; serve"'
ANSWERING = f"{WORKER};thread (11): MainThread;run (uvicorn/server.py:86)"
MEASURING = f"{WORKER};thread (12): {DRIFT_THREAD};_work (serving/drift/monitor.py:150)"
RUNNING = f"{WORKER};thread (13): generator_0;run (registry/bundle/generator.py:110);run (onnxruntime/capi/x.py:395)"


def test_a_stack_is_at_what_its_innermost_known_frame_says() -> None:
    lines = [f"{RUNNING} 5", f"{MEASURING};quantify (spect/quantify.py:40);sum (numpy/core.py:1) 2", f"{ANSWERING} 1"]

    parts = [stack.part for stack in parse_stacks(lines)]

    assert parts == ["session (ONNX Runtime)", "quantifier", REST]


def test_threads_are_known_by_their_pool_and_by_the_kernels_number() -> None:
    (stack,) = parse_stacks([f"{RUNNING} 5"])

    assert (stack.thread, stack.thread_id, stack.samples) == ("generator", 13, 5)


def test_the_time_of_a_thread_is_shared_out_over_what_it_was_found_at() -> None:
    lines = [f"{RUNNING} 3", f"{WORKER};thread (13): generator_0;draw_inputs (spect/sampling.py:72) 1"]

    shared = share_out(parse_stacks(lines), {13: 2.0})

    assert shared == {
        "session (ONNX Runtime)": {"generator": 1.5},
        "draws and checks of slices": {"generator": 0.5},
    }


def test_a_thread_that_waits_takes_no_share() -> None:
    lines = [f"{ANSWERING};EpollSelector.select (selectors.py:468) 90", f"{ANSWERING} 10"]

    shared = share_out(parse_stacks(lines), {11: 4.0})

    assert shared == {REST: {"MainThread": 4.0}}


def test_the_time_of_a_thread_without_python_is_told_and_not_shared_out() -> None:
    shared = share_out(parse_stacks([f"{RUNNING} 3"]), {13: 2.0, 99: 1.5})

    assert shared[NOT_SEEN] == {NO_PYTHON: 1.5}
    assert sum(sum(threads.values()) for threads in shared.values()) == 3.5


def test_a_quantifier_in_a_thread_that_answers_is_found() -> None:
    beside = f"{MEASURING};quantify (spect/quantify.py:40) 4"
    within = f"{ANSWERING};quantify (spect/quantify.py:40) 4"

    assert sum_in_the_path(share_out(parse_stacks([beside]), {12: 3.0})) == 0
    assert sum_in_the_path(share_out(parse_stacks([beside, within]), {11: 1.0, 12: 3.0})) == 1.0


def test_a_line_without_a_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="not a line of py-spy"):
        parse_stacks(["run (uvicorn/server.py:86) 5"])
