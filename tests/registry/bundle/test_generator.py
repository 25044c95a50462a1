"""The released generator: the seed rule to the last bit, and nothing invalid ever returned."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from registry.bundle.directory import Bundle
from registry.bundle.generator import CPU_PROVIDER, ReleasedGenerator, check_counts_valid, is_gpu_plausible
from registry.bundle.manifest import GENERATOR_NAME
from spect.conditions import CONDITIONS, parse_condition
from spect.density import Targets
from spect.errors import BundleError, DeviceError, InferenceError, InvalidOutputError, RequestError
from spect.sampling import GeneratorInputs
from tests.support.tiny_bundle import MAX_COUNTS

ROOT = Path(__file__).parents[3]
UNILATERAL = parse_condition("COR", "unilateral")


@pytest.fixture(scope="module")
def generator(tiny_bundle: Bundle) -> ReleasedGenerator:
    return ReleasedGenerator(tiny_bundle, threads=1)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_a_slice_is_the_same_to_the_bit_alone_and_in_any_batch(generator: ReleasedGenerator, size: int) -> None:
    whole = generator.generate(UNILATERAL, seed=7, count=64).counts

    parts = [
        generator.generate(UNILATERAL, seed=7, start=start, count=min(size, 64 - start)).counts
        for start in range(0, 64, size)
    ]

    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_slice_does_not_depend_on_its_neighbours_or_its_place(generator: ReleasedGenerator) -> None:
    inputs = GeneratorInputs.concatenate([generator.draw_inputs(c, seed=3, count=4) for c in CONDITIONS])
    order = np.random.default_rng(0).permutation(len(inputs))
    shuffled = GeneratorInputs(
        latents=inputs.latents[order], condition=inputs.condition[order], quantities=inputs.quantities[order]
    )

    np.testing.assert_array_equal(generator.run(shuffled), generator.run(inputs)[order])


def test_the_number_of_threads_does_not_change_a_bit(tiny_bundle: Bundle, generator: ReleasedGenerator) -> None:
    two_threads = ReleasedGenerator(tiny_bundle, threads=2)

    expected = generator.generate(UNILATERAL, seed=1, count=9).counts
    np.testing.assert_array_equal(two_threads.generate(UNILATERAL, seed=1, count=9).counts, expected)


def test_the_internal_batch_size_does_not_change_a_bit(generator: ReleasedGenerator) -> None:
    expected = generator.generate(UNILATERAL, seed=1, count=10).counts

    np.testing.assert_array_equal(generator.generate(UNILATERAL, seed=1, count=10, batch=3).counts, expected)


def test_neighbouring_seeds_share_no_slice(generator: ReleasedGenerator) -> None:
    seven = generator.generate(UNILATERAL, seed=7, count=32).counts
    eight = generator.generate(UNILATERAL, seed=8, count=32).counts

    assert not {one.tobytes() for one in seven} & {one.tobytes() for one in eight}


def test_a_batch_says_what_makes_each_slice_again(generator: ReleasedGenerator, tiny_bundle: Bundle) -> None:
    batch = generator.generate(UNILATERAL, seed=7, start=5, count=3)

    assert batch.index.tolist() == [5, 6, 7]
    assert set(batch.seed) == {7}
    assert set(batch.level) == {"COR"}
    assert set(batch.pattern) == {"unilateral"}
    assert batch.model_sha256 == tiny_bundle.sha256
    assert batch.model_version == "unregistered"
    assert batch.counts.dtype == np.float32


def test_an_asked_asymmetry_is_drawn_on_the_asked_side(generator: ReleasedGenerator) -> None:
    counts = generator.generate(UNILATERAL, seed=1, count=8, targets=Targets(left_right_ratio=0.8)).counts

    left, right = counts[:, :, 32:].mean(axis=(1, 2)), counts[:, :, :32].mean(axis=(1, 2))
    assert (left < 0.9 * right).all()


def test_a_target_outside_the_support_is_refused(generator: ReleasedGenerator) -> None:
    with pytest.raises(RequestError, match=r"left_right_ratio 3 is outside .* ask between"):
        generator.generate(UNILATERAL, seed=1, targets=Targets(left_right_ratio=3.0))


def test_a_count_of_zero_is_refused(generator: ReleasedGenerator) -> None:
    with pytest.raises(RequestError, match="count must be at least 1, got 0"):
        generator.generate(UNILATERAL, seed=1, count=0)


def test_inputs_that_the_graph_cannot_run_are_one_line_of_ours(generator: ReleasedGenerator) -> None:
    inputs = generator.draw_inputs(CONDITIONS[0], seed=1)
    with pytest.raises(InferenceError, match="cannot run 1 slices on"):
        generator.run(replace(inputs, latents=inputs.latents[:, :-1]))


def test_the_provider_is_what_the_session_runs_on(generator: ReleasedGenerator) -> None:
    if is_gpu_plausible():
        pytest.skip("a GPU may be in use here")
    assert generator.provider == CPU_PROVIDER


def test_a_required_gpu_that_is_not_there_is_an_error(tiny_bundle: Bundle) -> None:
    if is_gpu_plausible():
        pytest.skip("a GPU may be in use here")
    with pytest.raises(DeviceError, match="a GPU was required, but the session runs on CPUExecutionProvider"):
        ReleasedGenerator(tiny_bundle, require_gpu=True)


@pytest.mark.gpu
@pytest.mark.skipif(not is_gpu_plausible(), reason="no CUDA device here")
def test_the_gpu_draws_what_the_cpu_draws_within_the_parity_limit(
    tiny_bundle: Bundle, generator: ReleasedGenerator
) -> None:
    on_gpu = ReleasedGenerator(tiny_bundle, require_gpu=True)

    difference = np.abs(
        on_gpu.generate(UNILATERAL, seed=7, count=64).counts - generator.generate(UNILATERAL, seed=7, count=64).counts
    )
    assert difference.max() <= 1e-4 * MAX_COUNTS


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "not_finite"), (np.inf, "not_finite"), (-1.0, "out_of_range"), (MAX_COUNTS * 1.01, "out_of_range")],
)
def test_one_wrong_pixel_makes_a_slice_invalid(value: float, reason: str) -> None:
    counts = np.random.default_rng(0).uniform(0, 100, (3, 8, 8)).astype(np.float32)
    counts[1, 2, 3] = value

    with pytest.raises(InvalidOutputError, match="1 of 3 slices") as caught:
        check_counts_valid(counts, max_counts=MAX_COUNTS)
    assert (caught.value.reason, caught.value.slices) == (reason, 1)


def test_a_constant_slice_is_invalid() -> None:
    with pytest.raises(InvalidOutputError, match="constant"):
        check_counts_valid(np.full((1, 8, 8), 5, dtype=np.float32), max_counts=MAX_COUNTS)


def test_a_graph_that_disagrees_with_its_manifest_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load_model(tiny_bundle.generator_path)
    for tensor in (model.graph.input[0], model.graph.output[0]):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1  # a batch of one, and no other
    onnx.save(model, tmp_path / GENERATOR_NAME)

    with pytest.raises(
        BundleError, match=r"the graph's inputs are latents float32 \[1, 8\].* the manifest says latents"
    ):
        ReleasedGenerator.from_onnx(tmp_path / GENERATOR_NAME, tiny_bundle.manifest)


def test_a_graph_changed_after_verification_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="changed after it was verified"):
        ReleasedGenerator(replace(tiny_bundle, sha256="0" * 64))


def test_a_file_that_is_no_graph_is_one_line(tiny_bundle: Bundle, tmp_path: Path) -> None:
    broken = tmp_path / GENERATOR_NAME
    broken.write_bytes(b"not a graph")

    with pytest.raises(BundleError, match="ONNX Runtime cannot open the generator") as caught:
        ReleasedGenerator.from_onnx(broken, tiny_bundle.manifest)
    assert "\n" not in str(caught.value)


def test_a_generator_sends_nothing_home(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry keeps its session in a file as soon as it is imported; without it there is none."""
    code = "from synspect import Client; Client().generate('COR', 'normal', count=1, seed=7)"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    told = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment | told, check=True, timeout=120)

    assert list(tmp_path.iterdir()) == []
