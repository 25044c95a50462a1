"""What whole commands need and how they are run: cohorts and DICOM files, made once, outside every time that counts."""

import csv
import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from side_by_side import HERE

from cohort.store import Cohort, load_cohort
from spect.errors import ServiceError
from spect.formats import dicom_write
from spect.formats.heading import Heading
from spect.slices import FIELD_MM, SyntheticBatch

SLICES = 1000
_COMMAND = "from synspect.cli import main; main()"
_SECONDS = 1800  # of one command: many times any limit
_PATIENT = "SIMULATED-"  # a patient's number that no synthetic slice has: an import refuses what says it is synthetic


class Needs:
    """A directory of its own, and what commands find there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(HERE.parent),
            "SYNSPECT_HOME": str(directory / "home"),  # the key of an import goes with the directory
        }

    def time_command(self, *arguments: str | Path) -> float:
        """Return the seconds that one `synspect` command takes, start of the process included."""
        command = [sys.executable, "-c", _COMMAND, *map(str, arguments)]
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._environment, timeout=_SECONDS, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise ServiceError(f"synspect {arguments[0]} ended with {done.returncode}: {done.stderr[-300:].strip()}")
        return seconds

    @cached_property
    def paper(self) -> tuple[Path, float]:
        """The cohort that the reference model was trained on, and the seconds to simulate it."""
        place = self.directory / "paper"
        return place, self.time_command("cohort", "simulate", place, "--preset", "paper", "--seed", "0")

    @cached_property
    def unseen(self) -> Path:
        """1,000 slices, 125 of each condition, of patients that the reference model never met."""
        place = self.directory / "unseen"
        self.time_command("cohort", "simulate", place, "--preset", "test", "--patients", str(SLICES), "--seed", "1")
        return place

    @cached_property
    def dicom(self) -> tuple[Path, Path]:
        """The slices of `unseen` as DICOM files in one directory, and their labels."""
        place = self.directory / "dicom"
        place.mkdir()
        cohort = load_cohort(self.unseen)
        labels = [["file", "pattern", "level"]]
        for number, content in enumerate(write_dicom(cohort)):
            name = f"{number:04d}.dcm"
            (place / name).write_bytes(content)
            labels.append([name, str(cohort.pattern[number]), str(cohort.level[number])])
        table = self.directory / "labels.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(labels)
        return place, table


def write_dicom(cohort: Cohort) -> Iterator[bytes]:
    """Yield one NM object a slice, as the service writes them, but as a patient's."""
    batch = _to_batch(cohort)
    archive = b"".join(dicom_write.write(Heading.of(batch), [batch]))
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        for number, name in enumerate(members.namelist()):
            image = pydicom.dcmread(io.BytesIO(members.read(name)))
            image.PatientID = f"{_PATIENT}{cohort.patient[number]}"
            buffer = io.BytesIO()
            image.save_as(buffer, enforce_file_format=True)
            yield buffer.getvalue()


def _to_batch(cohort: Cohort) -> SyntheticBatch:
    return SyntheticBatch(
        counts=cohort.counts,
        level=cohort.level,
        pattern=cohort.pattern,
        seed=np.zeros(len(cohort), dtype=np.int64),
        index=np.arange(len(cohort)),
        pixel_spacing_mm=FIELD_MM / cohort.matrix,
        model_version="simulated",
        model_sha256="0" * 64,
        intensity_unit=cohort.description.intensity_unit,
    )
