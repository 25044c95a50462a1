"""A damaged or dishonest cohort directory ends `cohort describe` in one sentence, never in a traceback."""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohort.store import Cohort, CohortDescription, build_cohort, save_cohort
from spect.errors import CohortError
from synspect import cli
from tests.support.phantom import brain_phantom

Describe = Callable[..., tuple[int, str]]


def small_cohort(**description: Any) -> Cohort:
    counts = np.stack([brain_phantom(matrix=32, noise=0.1, seed=seed).counts for seed in range(4)])
    about: dict[str, Any] = {
        "name": "toy",
        "pixel_spacing_mm": 8.0,
        "intensity_unit": "counts",
        "intensity_scaling": "whole-cohort",
        "source": "simulated",
    }
    arrays = {
        "counts": counts.astype(np.float32),
        "level": np.array(["COR"] * 4),
        "pattern": np.array(["normal", "normal", "unilateral", "unilateral"]),
        "patient": np.array(["a", "b", "c", "d"]),
        "split": np.array(["train"] * 4),
        "truth_left_right_ratio": np.full(4, 1.1, dtype=np.float32),
    }
    return build_cohort(arrays, CohortDescription(**(about | description)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save_cohort(small_cohort(), tmp_path / "c")
    return tmp_path / "c"


@pytest.fixture
def describe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Describe:
    """Run `cohort describe` as a user does; return its exit code and what it said on standard error."""

    def run(directory: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["synspect", "cohort", "describe", str(directory)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def _rewrite(directory: Path, **changes: Any) -> None:
    with np.load(directory / "slices.npz") as archive:
        arrays = dict(archive) | changes
    np.savez(directory / "slices.npz", **arrays)


def _zip(directory: Path, method: int = zipfile.ZIP_STORED, extra: Mapping[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(directory / "slices.npz") as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return buffer.getvalue()


def _encrypt(directory: Path) -> bytes:
    content = bytearray(_zip(directory))
    for marker, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(marker)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(marker, place + 4)
    return bytes(content)


def _with_unknown_packing(directory: Path) -> bytes:
    content = bytearray(_zip(directory))
    content[content.find(b"PK\x01\x02") + 10] = 99
    return bytes(content)


def _bomb(directory: Path) -> bytes:
    """Two gigabytes of zeros, two megabytes packed: promised by the directory of the zip, which is read first."""
    content = bytearray(_zip(directory, zipfile.ZIP_DEFLATED, {"truth_more.npy": bytes(2**20)}))
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
    return bytes(content)


STATEMENTS: list[tuple[Any, str]] = [
    ({"fingerprint": 5}, "fingerprint must be a sha256"),
    ({"fingerprint": "abc"}, "fingerprint must be a sha256"),
    ({"intensity_unit": ["a"]}, "intensity_unit must be one printable line"),
    ({"name": None}, "name must be one printable line"),
    ({"name": "a\x1b[31m\nb"}, "name must be one printable line"),
    ({"name": "\ud800"}, "name must be one printable line"),
    ({"simulator_version": 2}, "simulator_version must be one printable line"),
    ({"seed": "0"}, "seed must be a whole number"),
    ({"pixel_spacing_mm": "8"}, "pixel_spacing_mm must be a number of 0.01 to 1000 mm"),
    ({"pixel_spacing_mm": True}, "pixel_spacing_mm must be a number"),
    ({"pixel_spacing_mm": 10**400}, "pixel_spacing_mm must be a number"),
    ({"pixel_spacing_mm": float("nan")}, "pixel_spacing_mm must be a number"),
    ({"intensity_scaling": ["whole-cohort"]}, "intensity_scaling must be"),
    ({"source": {}}, "source must be"),
    ({"orientation": 1}, "orientation must be"),
]


@pytest.mark.parametrize(("changed", "words"), STATEMENTS)
def test_a_statement_of_the_wrong_kind_is_named(
    directory: Path, describe: Describe, changed: dict[str, Any], words: str
) -> None:
    path = directory / "cohort.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    code, told = describe(directory)

    assert (code, told.count("\n")) == (2, 1)
    assert f"{path}: {words}" in told


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"name": ' * 50_000, "1" * 5000, "\xff", '"' + "x" * 2**17 + '"', "null"]
)
def test_a_description_of_nonsense_is_refused(directory: Path, describe: Describe, text: str) -> None:
    (directory / "cohort.json").write_bytes(text.encode("latin-1"))

    code, told = describe(directory)

    assert (code, told.count("\n")) == (2, 1)
    assert "cohort.json" in told


@pytest.mark.parametrize("damage", [_encrypt, _with_unknown_packing, _bomb])
def test_a_file_that_was_packed_to_harm_is_refused(
    directory: Path, describe: Describe, damage: Callable[[Path], bytes]
) -> None:
    (directory / "slices.npz").write_bytes(damage(directory))

    code, told = describe(directory)

    assert (code, told.count("\n")) == (2, 1)
    assert "slices.npz: " in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": np.full((4, 1), "COR")}, "level (4, 1)"),
        ({"level": np.array("COR")}, "do not fit together"),
        ({"level": np.arange(4)}, "level must hold words"),
        ({"patient": np.array(["a", "b", "c", "d\n"])}, "patient must be one printable line"),
        ({"patient": np.array(["a", "a", "c", "d"]), "split": np.array(["train", "test"] * 2)}, "in test and in train"),
        ({"truth_left_right_ratio": np.array(["left"] * 4)}, "must hold positive numbers"),
        ({"truth_left_right_ratio": np.full((4, 2), 1.1)}, "truth_left_right_ratio (4, 2)"),
        ({"truth_left_right_ratio": np.array([1, 1, -1, 1.0])}, "must hold positive numbers"),
        ({"truth_left_right_ratio": np.array([1, 1, np.nan, 1.0])}, "must hold positive numbers"),
        ({"truth_left_right_ratio": np.ones(3)}, "truth_left_right_ratio (3,)"),
        ({"truth_severity": np.array([{}, {}, {}, {}])}, "numbers or words are needed"),
    ],
)
def test_an_array_that_is_not_one_of_a_cohort_is_named(
    directory: Path, describe: Describe, changes: dict[str, Any], words: str
) -> None:
    _rewrite(directory, **changes)

    code, told = describe(directory)

    assert (code, told.count("\n")) == (2, 1)
    assert words in told


@pytest.mark.parametrize("name", ["[/x]", "$\\frac{$", "[bold] :smile: $x^2$"])
def test_a_name_of_markup_or_mathematics_is_printed_and_drawn_as_it_is(
    tmp_path: Path, describe: Describe, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    save_cohort(small_cohort(name=name, intensity_unit=name), tmp_path / "c")

    assert describe(tmp_path / "c")[0] == 0
    assert len(list((tmp_path / "c" / "figures").iterdir())) == 4


def test_a_patient_in_two_splits_is_refused_when_a_cohort_is_built() -> None:
    cohort = small_cohort()
    arrays = {**cohort.arrays(), "patient": np.array(["a", "a", "c", "d"]), "split": np.array(["train", "test"] * 2)}
    with pytest.raises(CohortError, match="a patient has slices in test and in train; give all slices"):
        build_cohort(arrays, cohort.description)
