"""The int8 form of a released graph, beside the graph it was made from."""

from pathlib import Path

import int8
import pytest

from registry.bundle.directory import load_bundle
from registry.bundle.generator import ReleasedGenerator
from registry.bundle.manifest import GENERATOR_NAME

REFERENCE = Path(__file__).parents[2] / "models" / "reference"


@pytest.fixture(scope="module")
def released() -> ReleasedGenerator:
    return ReleasedGenerator(load_bundle(REFERENCE), threads=1)


def test_every_run_holds_every_condition_alike(released: ReleasedGenerator) -> None:
    (inputs,) = int8.draw_runs(released, seed=0, runs=1)

    counted = {int(one): int((inputs.condition == one).sum()) for one in inputs.condition}

    assert len(counted) == len(released.manifest.density().conditions)
    assert set(counted.values()) == {2}


def test_a_graph_beside_itself_differs_in_nothing(released: ReleasedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "COMPARED", 1)

    comparison = int8.compare(released, released)

    assert comparison.rms_difference == comparison.largest_difference == 0
    assert comparison.mean_counts_ratio == comparison.noise_sd_ratio == 1


def test_int8_keeps_mean_counts_and_not_every_pixel(
    released: ReleasedGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(int8, "COMPARED", 1)
    monkeypatch.setattr(int8, "CALIBRATED_ON", 1)
    path = int8.quantise(released, REFERENCE / GENERATOR_NAME, tmp_path)

    comparison = int8.compare(released, ReleasedGenerator.from_onnx(path, released.manifest, threads=1))

    assert 0.98 < comparison.mean_counts_ratio < 1.02
    assert 1e-4 < comparison.rms_difference < 0.05
