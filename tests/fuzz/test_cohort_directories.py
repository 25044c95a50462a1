"""Damaged cohort directories are refused in one clear sentence, or read as what they say: a bounded corpus."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohort.description.describe import summarise
from cohort.description.measuring import measure_cohort
from cohort.store import CohortDescription, build_cohort, load_cohort, save_cohort
from spect.errors import CohortError
from tests.fuzz import arrays
from tests.fuzz.case import Rng, case_rng
from tests.fuzz.phantoms import head_slices
from tests.fuzz.raw_bytes import MUTATORS

CASES = 150
SEED = 1
CPU_SECONDS = 2.0
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1e999, float("nan"), "", "x" * 10_000, "\ud800", "\x1b[2J", "$\\frac{$", "[/x]", [], {},
    ["a"], {"a": 1}, "acquired", "per-slice",
)  # fmt: skip


def write_sound(directory: Path, rng: Rng) -> None:
    """Three slices of a head of three patients, with a truth."""
    made = {
        "counts": head_slices(rng),
        "level": np.array(["CER", "BG", "COR"]),
        "pattern": np.array(["normal"] * 3),
        "patient": np.array(["a", "b", "c"]),
        "split": np.array(["train"] * 3),
        "truth_left_right_ratio": np.ones(3, dtype=np.float32),
    }
    about = CohortDescription(
        name="toy",
        pixel_spacing_mm=8.0,
        intensity_unit="counts",
        intensity_scaling="whole-cohort",
        source="simulated",
    )
    save_cohort(build_cohort(made, about), directory)


def damage(directory: Path, rng: Rng) -> str:
    """Damage the statement, its bytes, the archive or an array of it; return what was done."""
    statement, slices = directory / "cohort.json", directory / "slices.npz"
    kind = int(rng.integers(5))
    if kind == 0:
        said = json.loads(statement.read_text())
        name = str(rng.choice([*said, "unheard_of"]))
        statement.write_text(json.dumps(said | {name: _VALUES[int(rng.integers(len(_VALUES)))]}))
        return f"{name} changed"
    if kind in (1, 2):
        path = statement if kind == 1 else slices
        path.write_bytes(MUTATORS[int(rng.integers(len(MUTATORS)))](path.read_bytes(), rng))
        return f"bytes of {path.name}"
    with np.load(slices) as archive:
        held = dict(archive)
    if kind == 3:
        mutator = arrays.ZIP_MUTATORS[int(rng.integers(len(arrays.ZIP_MUTATORS)))]
        slices.write_bytes(mutator(held, rng))
        return arrays.words(mutator)
    name = str(rng.choice([name for name in held if name != "counts"]))
    strange = (np.array(3), np.array([]), np.ones((3, 1)), np.array(["\x00", "[/b]", "x" * 999]), -np.ones(3))
    np.savez(slices, **(held | {name: strange[int(rng.integers(len(strange)))]}))
    return f"array {name}"


def describe(directory: Path) -> str | None:
    """Describe a cohort; return why it was refused, or None where it was not."""
    try:
        summary = summarise(measure_cohort(load_cohort(directory), workers=1))
    except CohortError as error:
        return str(error)
    assert summary.slices == 3
    return None


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # of the zip that the corpus writes
def test_a_damaged_cohort_is_refused_in_one_sentence_or_described(tmp_path: Path) -> None:
    endings: Counter[str] = Counter()
    for index in range(CASES):
        rng, directory = case_rng("cohort", SEED, index), tmp_path / str(index)
        write_sound(directory, rng)
        how = damage(directory, rng)
        started = time.process_time()
        told = describe(directory)
        assert told is None or (told.isprintable() and len(told) < 1000), (index, how, told)
        endings["described" if told is None else "refused"] += 1
        assert time.process_time() - started < CPU_SECONDS, (index, how)
    assert endings["refused"] > CASES // 2
    assert endings["described"] > CASES // 30
