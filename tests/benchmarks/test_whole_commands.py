"""Whole commands beside their limits: DICOM that an import takes, verdicts, and a command that fails."""

from pathlib import Path

import pytest
from commands.needs import Needs, write_dicom
from whole_commands import Verdict, to_table

from cohort.importing.deidentify import Pseudonyms
from cohort.importing.importer import ImportSettings, import_cohort
from cohort.simulator.patients import Preset
from cohort.simulator.simulate import simulate_cohort
from spect.errors import ServiceError


def test_simulated_slices_written_as_dicom_are_taken_by_an_import_whole(tmp_path: Path) -> None:
    cohort = simulate_cohort(Preset.TEST, patients=8, matrix=64, seed=3, workers=1)
    for number, content in enumerate(write_dicom(cohort)):
        (tmp_path / f"{number}.dcm").write_bytes(content)
    labels = tmp_path / "labels.csv"
    rows = [f"{n}.dcm,{cohort.pattern[n]},{cohort.level[n]}" for n in range(len(cohort))]
    labels.write_text("\n".join(["file,pattern,level", *rows]))

    imported, _ = import_cohort(tmp_path, ImportSettings(labels=labels), Pseudonyms(key=b"k" * 32))

    assert len(imported) == len(cohort) == 8
    assert sorted(imported.counts.mean((1, 2))) == pytest.approx(sorted(cohort.counts.mean((1, 2))), rel=0.01)


def test_a_command_that_fails_ends_the_measurement_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"synspect cohort ended with 2: error: .*no-scans"):
        Needs(tmp_path).time_command("cohort", "describe", tmp_path / "no-scans")


def test_what_takes_longer_than_its_limit_is_said_to_miss_it() -> None:
    rows = [
        Verdict(name=name, about=name, measured=measured, most=0.3, unit="s")
        for name, measured in (("quick", 0.3), ("slow", 0.31))
    ]

    table = to_table(rows)

    assert "| quick | 0.3 s | 0.3 s | met |" in table
    assert "| slow | 0.31 s | 0.3 s | missed |" in table
