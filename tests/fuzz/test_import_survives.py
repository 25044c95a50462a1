"""Damaged files end in one clear line or in a sound cohort: a bounded corpus of what `tests.fuzz.run` does by hand."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fuzz import arrays, importing, nuclear_medicine, pictures, raw_bytes, tables, volumes
from tests.fuzz.case import Case, case_rng
from tests.fuzz.corpus import FORMATS, build_case
from tests.fuzz.harness import Harness, Limits, Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc")

CASES = 100
SEED = 1
_SMALL = Limits(cpu_seconds=0.2, patience_seconds=2.0, peak_bytes=2**27)
_BROKEN = {
    importing.raises_an_error_of_python: Outcome.CRASHED,
    importing.hangs: Outcome.SLOW,
    importing.computes_for_ever: Outcome.SLOW,
    importing.takes_too_much_memory: Outcome.LARGE,
    importing.takes_all_memory: Outcome.CRASHED,
    importing.dies: Outcome.DIED,
    importing.warns: Outcome.WARNED,
    importing.logs: Outcome.WARNED,
    importing.prints: Outcome.WARNED,
    importing.tells_a_story: Outcome.UNCLEAR,
    importing.leaves_half_a_cohort: Outcome.LEFTOVERS,
    importing.leaves_a_temporary_file: Outcome.LEFTOVERS,
    importing.writes_an_unsound_cohort: Outcome.WRONG,
}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as running:
        yield running


@pytest.fixture(scope="module")
def strict_harness() -> Iterator[Harness]:
    """One that loses patience early: broken readers need not be waited for."""
    with Harness(_SMALL) as running:
        yield running


@pytest.mark.parametrize("format_name", FORMATS)
def test_damaged_files_end_in_one_clear_line_or_in_a_sound_cohort(harness, format_name) -> None:
    cases = (build_case(format_name, SEED, index) for index in range(CASES))
    results = list(harness.run(cases, importing.import_files))

    bad = {index: (result.outcome.value, result.words) for index, result in enumerate(results) if not result.good}
    assert not bad, f"python -m tests.fuzz.run --format {format_name} --seed {SEED} --only {next(iter(bad))}: {bad}"
    # A corpus that is refused as a whole, or accepted as a whole, tests nothing.
    outcomes = [result.outcome for result in results]
    assert outcomes.count(Outcome.ERROR) > CASES // 10
    assert outcomes.count(Outcome.COHORT) > CASES // 20


@pytest.mark.parametrize(("importer", "outcome"), _BROKEN.items(), ids=[one.__name__ for one in _BROKEN])
def test_a_reader_broken_on_purpose_is_caught(strict_harness, importer, outcome) -> None:
    assert strict_harness.run_one(_sound_case(), importer).outcome is outcome


def test_after_a_hang_the_next_case_runs_as_if_nothing_had_been(strict_harness) -> None:
    assert strict_harness.run_one(_sound_case(), importing.hangs).outcome is Outcome.SLOW

    result = strict_harness.run_one(_sound_case(), importing.import_files)

    assert (result.outcome, result.words) == (Outcome.COHORT, "3 slices")


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_case_is_the_same_alone_and_among_others(format_name) -> None:
    among = [build_case(format_name, SEED, index) for index in range(6)]

    assert build_case(format_name, SEED, 5) == among[5]
    assert build_case(format_name, SEED + 1, 5) != among[5]


@pytest.mark.parametrize("mutator", raw_bytes.MUTATORS, ids=raw_bytes.words)
def test_every_damage_to_bytes_changes_them(mutator) -> None:
    sound = volumes.sound_image(case_rng("nifti", SEED, 0))

    assert any(mutator(sound, case_rng("bytes", SEED, index)) != sound for index in range(3))


def test_every_mutator_of_every_format_is_met_in_the_corpus() -> None:
    for format_name, mutators in {
        "npy": arrays.ARRAY_MUTATORS,
        "npz": arrays.ZIP_MUTATORS,
        "nifti": volumes.IMAGE_MUTATORS,
        "dicom": (*nuclear_medicine.DATASET_MUTATORS, *nuclear_medicine.FILE_MUTATORS),
        "png": pictures.PNG_MUTATORS,
        "tiff": pictures.TIFF_MUTATORS,
        "labels": tables.TABLE_MUTATORS,
    }.items():
        met = {build_case(format_name, SEED, index).how for index in range(CASES)}
        missing = {raw_bytes.words(mutator) for mutator in mutators} - met
        assert not missing, format_name


def _sound_case() -> Case:
    rng = case_rng("nifti", SEED, 0)
    return replace(volumes.nifti_case(rng), scans={"scan.nii": volumes.sound_image(rng)})
