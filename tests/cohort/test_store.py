import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohort.pictures import write_pictures
from cohort.store import Cohort, CohortDescription, build_cohort, check_destination, load_cohort, save_cohort
from spect.conditions import parse_condition
from spect.errors import CohortError


def make_cohort(slices: int = 4) -> Cohort:
    rng = np.random.default_rng(0)
    arrays = {
        "counts": rng.random((slices, 8, 8), dtype=np.float32),
        "level": np.resize(["CER", "COR"], slices),
        "pattern": np.resize(["normal", "unilateral", "unilateral"], slices),
        "patient": np.array([f"p{i // 2}" for i in range(slices)]),
        "split": np.resize(["train", "train", "selection", "selection"], slices),
        "truth_severity": np.arange(slices, dtype=np.float32),
    }
    description = CohortDescription(
        name="toy",
        pixel_spacing_mm=32.0,
        intensity_unit="counts",
        intensity_scaling="whole-cohort",
        source="simulated",
        simulator_version="1",
        seed=0,
    )
    return build_cohort(arrays, description)


def test_a_cohort_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    cohort = make_cohort()
    save_cohort(cohort, tmp_path / "c")
    loaded = load_cohort(tmp_path / "c")
    assert loaded.description == cohort.description
    for name, array in cohort.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_numbered_and_compressed_files_make_the_same_cohort(tmp_path: Path) -> None:
    cohort = make_cohort()
    save_cohort(cohort, tmp_path)
    (tmp_path / "slices.npz").unlink()
    arrays = cohort.arrays()
    np.savez_compressed(tmp_path / "slices-0001.npz", **{name: array[3:] for name, array in arrays.items()})
    np.savez_compressed(tmp_path / "slices-0000.npz", **{name: array[:3] for name, array in arrays.items()})
    np.testing.assert_array_equal(load_cohort(tmp_path).counts, cohort.counts)


def test_select_keeps_every_array_aligned() -> None:
    cohort = make_cohort(12)
    chosen = cohort.select(split="train", condition=parse_condition("COR", "unilateral"))
    assert set(chosen.level) == {"COR"}
    assert set(chosen.pattern) == {"unilateral"}
    for row, severity in enumerate(chosen.truth["severity"]):
        np.testing.assert_array_equal(chosen.counts[row], cohort.counts[int(severity)])
    assert (chosen.condition_index == parse_condition("COR", "unilateral").index).all()


def test_one_changed_count_changes_the_fingerprint_and_is_refused(tmp_path: Path) -> None:
    cohort = make_cohort()
    save_cohort(cohort, tmp_path)
    arrays = {**cohort.arrays(), "counts": cohort.counts.copy()}
    arrays["counts"][0, 0, 0] += 1
    np.savez(tmp_path / "slices.npz", **arrays)
    with pytest.raises(CohortError, match="fingerprint"):
        load_cohort(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "slices.npz").unlink(), "holds no slices.npz"),
        (lambda d: (d / "cohort.json").unlink(), "cohort.json is missing"),
        (lambda d: (d / "cohort.json").write_text("[1"), "not readable JSON"),
        (lambda d: (d / "cohort.json").write_text("{}"), "missing"),
        (lambda d: (d / "slices.npz").write_bytes((d / "slices.npz").read_bytes()[:200]), "not a whole npz"),
        (lambda d: (d / "slices.npz").write_text("text"), "not a whole npz"),
        (lambda d: np.savez(d / "slices.npz", counts=np.ones((1, 8, 8))), "missing level"),
        (lambda d: np.ones(3).dump(d / "slices.npz"), "not a whole npz"),
        (lambda d: np.save(d / "slices", np.ones(3)) or (d / "slices.npy").rename(d / "slices.npz"), "not a whole npz"),
    ],
)
def test_a_broken_cohort_is_refused_in_one_line(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    save_cohort(make_cohort(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(CohortError, match=words) as caught:
        load_cohort(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_cohort_never_lands_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CohortError, match="not empty"):
        save_cohort(make_cohort(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_saving_again_replaces_the_cohort_and_keeps_what_lies_beside_it(tmp_path: Path) -> None:
    save_cohort(make_cohort(4), tmp_path)
    (tmp_path / "figure.png").write_text("drawn by describe")
    save_cohort(make_cohort(8), tmp_path)
    assert len(load_cohort(tmp_path)) == 8
    assert (tmp_path / "figure.png").exists()


def test_pictures_of_a_cohort_go_with_it_and_other_files_stay(tmp_path: Path) -> None:
    save_cohort(make_cohort(4), tmp_path)
    figures = tmp_path / "figures"
    write_pictures(figures, {"asymmetry.png": b"old", "compared-asymmetry.png": b"old"})
    save_cohort(make_cohort(8), tmp_path)
    assert not figures.exists()
    write_pictures(figures, {"asymmetry.png": b"old", "mine.png": b"mine"})
    save_cohort(make_cohort(4), tmp_path)
    assert [path.name for path in figures.iterdir()] == ["mine.png"]


def test_a_picture_that_cannot_be_written_is_named_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    too_long = f"{'x' * 300}.png"
    with pytest.raises(OSError, match="too long") as caught:
        write_pictures(tmp_path / "figures", {"asymmetry.png": b"drawn", too_long: b"drawn"})
    assert caught.value.filename == str(tmp_path / "figures" / too_long)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "f").write_text("")
    with pytest.raises(CohortError, match="f/figures cannot be made"):
        write_pictures(tmp_path / "f" / "figures", {"asymmetry.png": b"drawn"})


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("f/below", "lies below .*f, which is a file"),
        ("f/far/below", "lies below .*f, which is a file"),
        ("x" * 250, "name too long for a cohort; take at most 237 bytes"),
        ("\u00e4" * 120, "name too long"),
        (f"{'x' * 300}/c", "cannot be written"),
        ("/proc/cohort", "/proc/cohort cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(CohortError, match=words) as caught:
        save_cohort(make_cohort(), tmp_path / place)
    assert ".writing-" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    save_cohort(make_cohort(), tmp_path / ("x" * 237))
    assert len(load_cohort(tmp_path / ("x" * 237))) == 4


def test_an_imported_cohort_is_never_replaced(tmp_path: Path) -> None:
    acquired = make_cohort(4)
    acquired = replace(acquired, description=replace(acquired.description, source="acquired", simulator_version=None))
    save_cohort(build_cohort(acquired.arrays(), acquired.description), tmp_path / "ours")
    with pytest.raises(CohortError, match="holds an imported cohort, which is not replaced"):
        save_cohort(make_cohort(8), tmp_path / "ours")
    assert len(load_cohort(tmp_path / "ours")) == 4


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        save_cohort(make_cohort(), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(CohortError, match="is a file"):
        check_destination(tmp_path / "f")


def test_a_label_nobody_knows_is_refused() -> None:
    cohort = make_cohort()
    arrays = {**cohort.arrays(), "level": np.array(["CER", "HEAD", "BG", "COR"])}
    with pytest.raises(CohortError, match="HEAD"):
        build_cohort(arrays, cohort.description)


def test_a_description_on_disk_names_its_simulator(tmp_path: Path) -> None:
    save_cohort(make_cohort(), tmp_path)
    written = json.loads((tmp_path / "cohort.json").read_text())
    assert written["simulator_version"] == "1"
    assert written["orientation"] == "row 0 anterior, patient's left on image right"
