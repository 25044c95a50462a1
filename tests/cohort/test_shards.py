"""A cohort in one file and in many: the same to every reader, and refused in one sentence where a file is not right."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cohort import shards
from cohort.store import Cohort, build_cohort, is_cohort, load_cohort, save_cohort, write_cohort
from registry.bundle.directory import Bundle
from spect.errors import CohortError
from tests.support.toy_slices import toy_cohort
from training.config import TrainingConfig
from training.prepare import prepare
from training.validation.samples import QUICK, select_reference

FILES = ["slices-00000.npz", "slices-00001.npz", "slices-00002.npz"]


def save_in_files_of(slices: int, cohort: Cohort, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shards, "SLICES_PER_FILE", slices)
        save_cohort(cohort, directory)


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """One cohort of 64 toy slices in one file, and in three of at most 27."""
    cohort = toy_cohort(8, seed=5, split="train", name="paper")
    arrays = {**cohort.arrays(), "truth_severity": np.linspace(0, 1, len(cohort), dtype=np.float32)}
    cohort = build_cohort(arrays, cohort.description)
    save_cohort(cohort, tmp_path / "one")
    save_in_files_of(27, cohort, tmp_path / "many", monkeypatch)
    return tmp_path / "one", tmp_path / "many"


def test_a_cohort_is_the_same_in_one_file_and_in_three(both: tuple[Path, Path]) -> None:
    one, many = both
    assert sorted(path.name for path in one.iterdir()) == ["cohort.json", "slices.npz"]
    assert sorted(path.name for path in many.iterdir()) == ["cohort.json", *FILES]
    assert (one / "cohort.json").read_bytes() == (many / "cohort.json").read_bytes()
    first, second = load_cohort(one), load_cohort(many)
    assert first.description == second.description
    assert first.arrays().keys() == second.arrays().keys()
    for name, array in first.arrays().items():
        assert array.dtype == second.arrays()[name].dtype
        np.testing.assert_array_equal(array, second.arrays()[name])


def test_both_are_cohorts_until_the_description_is_gone(both: tuple[Path, Path]) -> None:
    for directory in both:
        assert is_cohort(directory)
        (directory / "cohort.json").unlink()
        assert not is_cohort(directory)
        with pytest.raises(CohortError, match=r"slices.* without cohort\.json"):
            save_cohort(toy_cohort(2, seed=7), directory)


def test_training_and_validation_get_the_same_from_both(both: tuple[Path, Path], tiny_bundle: Bundle) -> None:
    first, second = (load_cohort(directory) for directory in both)
    config = TrainingConfig(matrix=64, width=2, latent_size=8, embedding_size=16, principal_scores=4, images=960)
    prepared = [prepare(cohort, config) for cohort in (first, second)]
    np.testing.assert_array_equal(prepared[0].raw, prepared[1].raw)
    assert torch.equal(prepared[0].slices.model_images, prepared[1].slices.model_images)
    trained_on = tiny_bundle.manifest.training_cohort.model_copy(update={"intensity_unit": "mL/100g/min"})
    chosen = [
        select_reference(cohort, trained_on=trained_on, training=None, numbers=QUICK, seed=1)
        for cohort in (first, second)
    ]
    np.testing.assert_array_equal(chosen[0].counts, chosen[1].counts)


def test_the_fingerprint_is_the_sha256_of_spacing_counts_and_labels(both: tuple[Path, Path]) -> None:
    cohort = load_cohort(both[1])
    digest = hashlib.sha256(f"{cohort.description.pixel_spacing_mm:.6f} {cohort.counts.shape[1:]}".encode())
    digest.update(cohort.counts.astype("<f4").tobytes())
    for name in ("level", "pattern", "patient", "split"):
        digest.update("\n".join([name, *getattr(cohort, name).tolist()]).encode())
    assert cohort.description.fingerprint == digest.hexdigest()


def test_blocks_of_any_size_make_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = toy_cohort(5, seed=6)
    monkeypatch.setattr(shards, "SLICES_PER_FILE", 16)
    written = []
    for step in (1, 7, 16, 40):
        directory = tmp_path / str(step)
        with write_cohort(directory, cohort.description) as writer:
            for start in range(0, len(cohort), step):
                rows = slice(start, start + step)
                writer.add({name: array[rows] for name, array in cohort.arrays().items()})
        written.append(load_cohort(directory).counts)
    assert len(list((tmp_path / "7").glob("slices-*.npz"))) == 3
    for counts in written:
        np.testing.assert_array_equal(counts, cohort.counts)


def _remove(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def _truncate(directory: Path) -> None:
    os.truncate(directory / FILES[1], (directory / FILES[1]).stat().st_size // 2)


def _rewrite(directory: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    with np.load(directory / FILES[1]) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(directory / FILES[1], **arrays)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_remove(FILES[0]), f"{FILES[0]} is missing"),
        (_remove(FILES[1]), f"{FILES[1]} is missing"),
        (_remove(FILES[2]), "a file is missing, or is not as it was written"),
        (_truncate, f"{FILES[1]}: it is not a whole npz file"),
        (lambda d: _rewrite(d, lambda a: a.pop("truth_severity")), f"{FILES[1]} holds other arrays"),
        (lambda d: _rewrite(d, lambda a: a.pop("counts")), f"{FILES[1]} holds no array counts"),
        (lambda d: _rewrite(d, lambda a: a.update(counts=a["counts"][:, ::2, ::2])), "needs one shape"),
        (lambda d: _rewrite(d, lambda a: a.update(counts=a["counts"][:5])), "64 labels for 42 slices"),
        (lambda d: _rewrite(d, lambda a: a.update(counts=np.tile(a["counts"], (2, 1, 1)))), "more slices than labels"),
        (lambda d: _rewrite(d, lambda a: a.update(counts=a["counts"] * 2)), "a file is missing, or is not as it was"),
        (lambda d: _rewrite(d, lambda a: a.update(level=np.array("x"))), "do not fit together"),
        (lambda d: (d / "slices.npz").write_bytes(b""), "slices.npz and slices-00000.npz"),
    ],
)
def test_a_file_that_is_not_right_is_named_in_one_sentence(
    both: tuple[Path, Path], spoil: Callable[[Path], object], words: str
) -> None:
    spoil(both[1])
    with pytest.raises(CohortError, match=words) as caught:
        load_cohort(both[1])
    assert "\n" not in str(caught.value)


def test_a_file_of_another_cohort_is_refused(both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    other = both[0].parent / "other"
    cohort = load_cohort(both[0])
    save_in_files_of(
        27,
        build_cohort({**cohort.arrays(), "counts": cohort.counts[::-1]}, cohort.description),
        other,
        monkeypatch,
    )
    (other / FILES[1]).replace(both[1] / FILES[1])
    with pytest.raises(CohortError, match="not as it was written"):
        load_cohort(both[1])


def test_a_cohort_of_many_files_gives_way_to_one_of_one_file_whole(both: tuple[Path, Path]) -> None:
    small = toy_cohort(2, seed=7)
    save_cohort(small, both[1])
    assert sorted(path.name for path in both[1].iterdir()) == ["cohort.json", "slices.npz"]
    np.testing.assert_array_equal(load_cohort(both[1]).counts, small.counts)


def test_a_full_disk_leaves_the_old_cohort_and_says_so(
    both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = load_cohort(both[1]).description
    monkeypatch.setattr(np, "savez", fill)
    with pytest.raises(OSError, match="The disk is full") as caught:
        save_cohort(toy_cohort(2, seed=7), both[1])
    assert caught.value.filename == str(both[1])
    assert load_cohort(both[1]).description == before
    assert sorted(path.name for path in both[1].parent.iterdir()) == ["many", "one"]


WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from cohort.staging import staged
with staged(Path(sys.argv[1]), lambda staging, directory: None) as staging:
    (staging / "slices-00000.npz").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_reads_as_nothing_and_goes_with_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "c"
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_WAIT, str(target)], stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None
        assert writing.stdout.readline() == b"writing\n"
        cohort = toy_cohort(2, seed=8)
        save_cohort(cohort, target)  # the other process lives: what it writes is left alone
        assert len(list(tmp_path.glob(".c.writing-*"))) == 1
        writing.kill()
    assert len(list(tmp_path.glob(".c.writing-*"))) == 1
    save_cohort(cohort, target)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert load_cohort(target).description == cohort.description


START_WORKERS = """
import sys, time
from cohort.simulator.imaging import Camera
from cohort.simulator.patients import Preset, plan_patients
from cohort.simulator.workers import simulate_patients
if __name__ == "__main__":
    plans = plan_patients(Preset.TEST, patients=400, seed=0)
    for made in simulate_patients(plans, Camera(matrix=64), workers=2):
        print("made", flush=True)
        time.sleep(60)
"""


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listed.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children as Linux does")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "start.py"
    script.write_text(START_WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(Path(shards.__file__).parent.parent)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"made\n"
        workers = _children(parent.pid)
        assert len(workers) >= 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


def test_every_file_of_slices_says_that_it_is_of_a_cohort_and_one_that_does_not_is_still_read(
    both: tuple[Path, Path],
) -> None:
    before = load_cohort(both[1])
    for name in FILES:
        with np.load(both[1] / name) as archive:
            assert str(archive["notice"]) == "slices of a synspect cohort"
            arrays = {kept: archive[kept] for kept in archive.files if kept != "notice"}
        np.savez(both[1] / name, **arrays)

    again = load_cohort(both[1])

    np.testing.assert_array_equal(again.counts, before.counts)
    assert again.description == before.description
    assert set(again.arrays()) == set(before.arrays())
