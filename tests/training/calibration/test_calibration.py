"""Mean slices and spectrum are brought to those of training; flow is left alone and the background stays dark."""

from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch

from spect.conditions import CONDITIONS
from tests.support.tiny_training import TINY, same_tensors, tiny_prepared
from training.calibration.calibrate import TrainingStatistics, calibrate_output
from training.calibration.mean_slice import MeanSlices
from training.calibration.spectrum import measure_power
from training.checkpoint import RunFacts
from training.export import export_onnx
from training.networks.averaging import recalibrated
from training.networks.build import build_networks
from training.networks.generator import Generator
from training.networks.output_correction import cosine_matrix
from training.quantities.differentiable import draw_quantities
from training.quantities.principal import level_of_condition

DARK_ROWS = 8
SLICES = np.array([40, 12, 40, 20, 4, 40, 30, 10])
BILATERAL = 4  # basal ganglia, with four slices of its level's 64


@pytest.fixture
def generator() -> Generator:
    """An untrained generator, ready for use, that leaves the first rows dark, as the brain does."""
    network, _ = build_networks(TINY, seed=0)
    ready = recalibrated(network.requires_grad_(requires_grad=False), tiny_prepared().density)

    def darken(_module: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        lit = torch.ones(TINY.matrix, dtype=torch.bool)
        lit[:DARK_ROWS] = False
        return torch.where(lit[:, None], output, -6.0)

    ready.to_image.register_forward_hook(darken)
    return ready


@torch.no_grad()
def _generate(generator: Generator, *, seed: int) -> np.ndarray:
    """Model images (conditions, 256, m, m)."""
    rng = np.random.default_rng(seed)
    condition = np.repeat(np.arange(len(CONDITIONS)), 256)
    inputs = (
        rng.standard_normal((len(condition), generator.input_latents)).astype(np.float32),
        condition,
        draw_quantities(tiny_prepared().density, condition, rng),
    )
    made = generator(*map(torch.from_numpy, inputs))[:, 0].numpy()
    return made.reshape(len(CONDITIONS), 256, TINY.matrix, TINY.matrix)


def _mean_slices(generator: Generator, *, seed: int) -> np.ndarray:
    return _generate(generator, seed=seed).mean(axis=1)


def _mottle(seed: int = 1) -> np.ndarray:
    """A fine pattern for each level, (conditions, m, m)."""
    patterns = np.random.default_rng(seed).normal(0, 0.3, (3, TINY.matrix, TINY.matrix))
    return patterns[level_of_condition()]


def _correct(generator: Generator, target: np.ndarray, *, slices: np.ndarray = SLICES) -> np.ndarray:
    expected = TrainingStatistics(mean_slices=MeanSlices(model_images=target, slices=slices), power=None)
    calibrate_output(generator, expected, tiny_prepared().density)
    return generator.correction.mean[:, 0].numpy()


def test_a_mottle_that_all_slices_of_a_level_share_is_taken_away(generator: Generator) -> None:
    planted = torch.from_numpy(_mottle().astype(np.float32))[:, None]
    generator.correction.mean.copy_(planted)
    target = _mean_slices(generator, seed=2)
    lit = (slice(None), slice(DARK_ROWS, None))
    found = _correct(generator, target)
    assert np.std(found[lit] - planted[:, 0].numpy()[lit]) < 0.15 * np.std(planted.numpy())
    assert np.abs(_mean_slices(generator, seed=3) - target)[lit].mean() < 0.25 * np.abs(_mottle())[lit].mean()


def test_flow_is_not_corrected_and_images_stay_in_range(generator: Generator) -> None:
    counts = 1.2 * (_mean_slices(generator, seed=2) + 1)
    found = _correct(generator, counts - 1)
    shares = (found * counts).sum(axis=(1, 2)) / (counts**2).sum(axis=(1, 2))
    assert np.abs(shares).max() < 0.01
    generator.correction.mean.fill_(1.5)
    assert _mean_slices(generator, seed=2).max() <= 1


def test_detail_of_a_few_slices_is_not_taken_over_but_what_is_smooth_is(generator: Generator) -> None:
    target = _mean_slices(generator, seed=2)
    before = _correct(generator, target).copy()
    detailed, smooth = target.copy(), target.copy()
    detailed[BILATERAL] += 0.1 * np.random.default_rng(4).standard_normal(target.shape[1:])
    smooth[BILATERAL, 20:50, 10:50] += 0.1
    from_detail = np.std((_correct(generator, detailed) - before)[BILATERAL, DARK_ROWS:])
    from_smooth = np.mean((_correct(generator, smooth) - before)[BILATERAL, 28:42, 18:42])
    assert from_detail < 0.03
    assert from_smooth > 0.06


def test_a_condition_without_slices_is_left_as_it_is_and_there_is_one_correction(generator: Generator) -> None:
    slices = SLICES * (level_of_condition() == 2)
    first = _correct(generator, np.zeros_like(_mottle()), slices=slices).copy()
    touched = np.abs(first).sum(axis=(1, 2)) > 0
    assert touched.tolist() == (slices > 0).tolist()
    assert np.array_equal(first, _correct(generator, np.zeros_like(_mottle()), slices=slices))


def _statistics(images: np.ndarray) -> TrainingStatistics:
    condition = np.repeat(np.arange(len(CONDITIONS)), images.shape[1])
    return TrainingStatistics.of(images.reshape(-1, *images.shape[2:]), condition)


def _powers(images: np.ndarray) -> np.ndarray:
    condition = np.repeat(np.arange(len(CONDITIONS)), images.shape[1])
    return measure_power(images.reshape(-1, *images.shape[2:]), condition, np.bincount(condition))


def test_what_is_finer_than_scans_can_be_is_taken_away_and_what_lacks_is_brought(generator: Generator) -> None:
    own = _generate(generator, seed=2)
    means = own.mean(axis=1, keepdims=True)
    blurred = means + scipy.ndimage.gaussian_filter(1.2 * (own - means), (0, 0, 0.6, 0.6))
    wanted, before = _powers(blurred), _powers(own)
    calibrate_output(generator, _statistics(blurred), tiny_prepared().density, mean_slices=False)
    after = _generate(generator, seed=3)
    corrected = slice(5, 30)  # rings from 50 mm on
    assert np.abs(np.log(before / wanted))[corrected].mean() > 0.3
    assert np.abs(np.log(_powers(after) / wanted))[corrected].mean() < 0.1
    assert np.abs(after.mean(axis=1) - own.mean(axis=1)).mean() < 0.02


def test_coarse_waves_are_those_asked_for_and_are_left_alone(generator: Generator) -> None:
    own = _generate(generator, seed=2)
    calibrate_output(generator, _statistics(2 * own), tiny_prepared().density, mean_slices=False)
    assert generator.correction.gain[:5, :5].eq(1).all()
    assert generator.correction.gain[20:, 20:].eq(1.5).all()


def test_a_calibration_is_made_anew_whatever_was_set_before(generator: Generator) -> None:
    expected = _statistics(_generate(generator, seed=2) * 0.9)
    calibrate_output(generator, expected, tiny_prepared().density)
    first = [tensor.clone() for tensor in generator.correction.buffers()]
    calibrate_output(generator, expected, tiny_prepared().density)
    assert same_tensors(first, generator.correction.buffers())


def test_a_checkpoint_of_before_is_loaded_uncorrected(generator: Generator) -> None:
    generator.correction.mean.fill_(0.1)
    state = {name: value for name, value in generator.state_dict().items() if not name.startswith("correction.")}
    fresh, _ = build_networks(TINY, seed=5)
    fresh.load_state_dict(state)
    assert not fresh.correction.mean.any()
    assert fresh.correction.gain.eq(1).all()
    assert same_tensors(fresh.to_image.parameters(), generator.to_image.parameters())


def test_nothing_is_generated_where_nothing_is_corrected(generator: Generator) -> None:
    expected = _statistics(_generate(generator, seed=2) * 0.9)
    calibrate_output(generator, expected, tiny_prepared().density)
    generator.register_forward_hook(lambda *_: pytest.fail("slices were generated for no correction"))
    calibrate_output(generator, expected, tiny_prepared().density, spectrum=False, mean_slices=False)
    assert not generator.correction.mean.any()


def test_no_correction_while_a_network_learns(generator: Generator) -> None:
    generator.correction.mean.fill_(0.5)
    generator.to_image.register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
    assert _generate(generator.eval(), seed=2)[0, 0, DARK_ROWS:].min() == pytest.approx(0.5, abs=1e-6)
    assert not _generate(generator.train(), seed=2).any()


def test_cosines_are_those_of_the_transform_the_power_is_measured_in() -> None:
    image = np.random.default_rng(0).standard_normal((16, 16))
    cosines = cosine_matrix(16).numpy()
    assert np.allclose(cosines @ image @ cosines.T, scipy.fft.dctn(image, norm="ortho"), atol=1e-5)


def test_the_released_graph_is_corrected(tmp_path: Path) -> None:
    network, _ = build_networks(TINY, seed=0)
    prepared = tiny_prepared()
    ready = recalibrated(network.requires_grad_(requires_grad=False), prepared.density)
    ready.correction.mean.copy_(torch.from_numpy(_mottle().astype(np.float32))[:, None])
    ready.correction.gain.copy_(torch.linspace(1.5, 0.2, TINY.matrix).outer(torch.ones(TINY.matrix)))
    facts = RunFacts(
        density=prepared.density,
        scale=prepared.scale,
        latent_size=TINY.input_latents,
        matrix=TINY.matrix,
        pixel_spacing_mm=prepared.pixel_spacing_mm,
        basis=prepared.basis,
        images_seen=0,
    )
    assert max(export_onnx(ready, facts, tmp_path / "generator.onnx").values()) < 1e-5
