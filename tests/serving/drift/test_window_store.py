"""Windows are gathered by all workers, judged once, and never stand in the way of a request."""

import multiprocessing
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from serving.drift.window_store import MeasuredSlice, SliceOutcome, WindowStore
from spect.conditions import Condition, Level, Pattern
from spect.errors import StoreError

NORMAL = Condition(Level.CORTEX, Pattern.NORMAL)
BILATERAL = Condition(Level.CORTEX, Pattern.BILATERAL)
MODEL = "a" * 64


def _slices(first: int, count: int, *, seed: int = 7) -> list[MeasuredSlice]:
    return [
        MeasuredSlice(seed=seed, index=index, features={"mean_counts": 50.0 + index})
        for index in range(first, first + count)
    ]


def _judge(features) -> list[dict]:
    return [
        {"test": "shift", "feature": "mean_counts", "verdict": "ok", "largest": float(max(features["mean_counts"]))}
    ]


def _add(store: WindowStore, measured, *, model: str = MODEL, condition: Condition = NORMAL, size: int = 32):
    return store.add(model, condition, measured, window_slices=size, judge=_judge)


@pytest.fixture
def store(tmp_path: Path):
    store = WindowStore(tmp_path / "state" / "windows.sqlite")
    yield store
    store.close()


def test_a_window_is_judged_when_its_last_slice_arrives(store) -> None:
    assert _add(store, _slices(0, 31)) == []
    assert store.read(MODEL)[str(NORMAL)].window is None
    (window,) = _add(store, _slices(31, 1))
    assert (window.number, window.slices) == (1, 32)
    assert window.statistics["mean_counts"]["mean"] == pytest.approx(50 + 15.5)
    assert window.judgements[0]["largest"] == 81.0
    assert store.read(MODEL)[str(NORMAL)].window == window


def test_what_exceeds_a_window_begins_the_next(store) -> None:
    windows = _add(store, _slices(0, 70))
    assert [window.number for window in windows] == [1, 2]
    state = store.read(MODEL)[str(NORMAL)]
    assert (state.gathered, state.window.number) == (6, 2)


def test_a_client_that_repeats_a_seed_fills_no_window_with_copies(store) -> None:
    for _ in range(10):
        _add(store, _slices(0, 20))
    assert store.read(MODEL)[str(NORMAL)].gathered == 20


def test_slices_of_the_last_window_do_not_enter_the_next(store) -> None:
    _add(store, _slices(0, 32))
    _add(store, _slices(0, 32))
    state = store.read(MODEL)[str(NORMAL)]
    assert (state.gathered, state.window.number) == (0, 1)


def test_conditions_and_models_have_windows_of_their_own(store) -> None:
    _add(store, _slices(0, 20))
    _add(store, _slices(0, 20), condition=BILATERAL)
    _add(store, _slices(0, 20), model="b" * 64)
    assert {name: state.gathered for name, state in store.read(MODEL).items()} == {str(NORMAL): 20, str(BILATERAL): 20}


def test_models_before_the_last_two_are_forgotten(store) -> None:
    for model in ("a", "b", "c"):
        _add(store, _slices(0, 5), model=model)
    assert store.read("a") == {}
    assert store.read("b")[str(NORMAL)].gathered == 5


def test_two_stores_on_one_file_fill_one_window_and_judge_it_once(tmp_path) -> None:
    path = tmp_path / "windows.sqlite"
    complete: list = []

    def work(seed: int) -> None:
        store = WindowStore(path)
        for index in range(100):
            complete.extend(_add(store, _slices(index, 1, seed=seed)))
        store.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(window.number for window in complete) == [1, 2, 3, 4, 5, 6]
    assert all(window.slices == 32 for window in complete)


def _fill_in_a_process(path: str, seed: int, found: "multiprocessing.Queue[int]") -> None:
    store = WindowStore(Path(path))
    numbers = [window.number for index in range(64) for window in _add(store, _slices(index, 1, seed=seed))]
    store.close()
    found.put(len(numbers))


def test_windows_span_the_processes_of_one_server(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    path = tmp_path / "windows.sqlite"
    workers = [context.Process(target=_fill_in_a_process, args=(str(path), seed, found)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert sum(found.get(timeout=60) for _ in workers) == 4
    store = WindowStore(path)
    assert store.read(MODEL)[str(NORMAL)].window.number == 4
    store.close()


def test_tallies_of_all_workers_add_up(store) -> None:
    other = WindowStore(store.path)
    store.tally(MODEL, {(NORMAL, SliceOutcome.OFFERED): 64})
    other.tally(MODEL, {(NORMAL, SliceOutcome.OFFERED): 36, (NORMAL, SliceOutcome.MEASURED): 1})
    other.close()
    assert store.read(MODEL)[str(NORMAL)].tallies == {"offered": 100, "measured": 1}


def test_a_judge_that_fails_leaves_the_window_open(store) -> None:
    def fail(_features) -> list[dict]:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        store.add(MODEL, NORMAL, _slices(0, 32), window_slices=32, judge=fail)
    assert store.read(MODEL) == {}
    assert len(_add(store, _slices(0, 32))) == 1


@pytest.mark.parametrize("content", [b"this is no database, only words" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_one_clear_line_and_mends_when_it_is_removed(store, content) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match="until it is repaired or removed") as caught:
        _add(store, _slices(0, 1))
    assert "\n" not in str(caught.value)
    store.path.unlink()
    _add(store, _slices(0, 1))
    assert store.read(MODEL)[str(NORMAL)].gathered == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE windows SET statistics = '{'",
        "UPDATE windows SET judgements = '{}'",
        "UPDATE windows SET judgements = x'00ff'",
        "UPDATE slices SET features = '[1]'",
        """UPDATE slices SET features = '{"other": 1}' WHERE position = 33""",
        """UPDATE slices SET features = '{"mean_counts": "bright"}'""",
    ],
)
def test_values_that_no_worker_wrote_are_one_clear_line(store, change: str) -> None:
    _add(store, _slices(0, 40))
    with sqlite3.connect(store.path) as other:
        other.execute(change)
    other.close()

    def use() -> None:
        store.read(MODEL)
        _add(store, _slices(40, 24))

    with pytest.raises(StoreError, match="it holds values that no worker wrote; windows are not gathered"):
        use()


def test_a_file_locked_by_another_is_an_error_and_not_a_wait_for_ever(store, monkeypatch) -> None:
    monkeypatch.setattr("serving.shared_database._BUSY_SECONDS", 0.05)
    _add(store, _slices(0, 1))
    store.close()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        _add(store, _slices(1, 1))
    other.execute("ROLLBACK")
    other.close()
    _add(store, _slices(1, 1))
    assert store.read(MODEL)[str(NORMAL)].gathered == 2


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/windows\.sqlite"):
        _add(WindowStore(tmp_path / "file" / "windows.sqlite"), _slices(0, 1))


def test_features_are_given_to_the_judge_by_name_and_whole(store) -> None:
    seen: list[np.ndarray] = []

    def keep(features) -> list[dict]:
        seen.append(features["mean_counts"])
        return []

    store.add(MODEL, NORMAL, _slices(0, 32), window_slices=32, judge=keep)
    np.testing.assert_array_equal(np.sort(seen[0]), 50.0 + np.arange(32))
