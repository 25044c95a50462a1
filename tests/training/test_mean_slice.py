"""Mean slices are brought to those of training; the background stays dark, and older checkpoints still load."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spect.conditions import CONDITIONS
from tests.support.tiny_training import TINY, same_tensors, tiny_prepared
from training.averaging import recalibrated
from training.checkpoint import RunFacts
from training.export import export_onnx
from training.mean_slice import MeanSlices, correct_mean_slices
from training.networks import Generator, build_networks
from training.principal import level_of_condition
from training.quantities import draw_quantities

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
def _mean_slices(generator: Generator, *, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    condition = np.repeat(np.arange(len(CONDITIONS)), 256)
    inputs = (
        rng.standard_normal((len(condition), generator.input_latents)).astype(np.float32),
        condition,
        draw_quantities(tiny_prepared().density, condition, rng),
    )
    made = generator(*map(torch.from_numpy, inputs))[:, 0].numpy()
    return made.reshape(len(CONDITIONS), 256, TINY.matrix, TINY.matrix).mean(axis=1)


def _mottle(seed: int = 1) -> np.ndarray:
    """A fine pattern for each level, (conditions, m, m)."""
    patterns = np.random.default_rng(seed).normal(0, 0.3, (3, TINY.matrix, TINY.matrix))
    return patterns[level_of_condition()]


def _correct(generator: Generator, target: np.ndarray) -> np.ndarray:
    correct_mean_slices(generator, MeanSlices(model_images=target, slices=SLICES), tiny_prepared().density)
    return generator.mean_correction[:, 0].numpy()


def test_a_mottle_that_all_slices_of_a_level_share_is_taken_away(generator: Generator) -> None:
    planted = torch.from_numpy(_mottle().astype(np.float32))[:, None]
    generator.mean_correction.copy_(planted)
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
    generator.mean_correction.fill_(1.5)
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
    expected = MeanSlices(model_images=np.zeros_like(_mottle()), slices=slices)
    correct_mean_slices(generator, expected, tiny_prepared().density)
    touched = generator.mean_correction.flatten(1).abs().sum(dim=1) > 0
    assert touched.tolist() == (slices > 0).tolist()
    first = generator.mean_correction.clone()
    correct_mean_slices(generator, expected, tiny_prepared().density)
    assert torch.equal(first, generator.mean_correction)


def test_a_checkpoint_of_before_is_loaded_uncorrected(generator: Generator) -> None:
    generator.mean_correction.fill_(0.1)
    state = generator.state_dict()
    del state["mean_correction"]
    fresh, _ = build_networks(TINY, seed=5)
    fresh.load_state_dict(state)
    assert not fresh.mean_correction.any()
    assert same_tensors(fresh.to_image.parameters(), generator.to_image.parameters())


def test_the_released_graph_is_corrected(tmp_path: Path) -> None:
    network, _ = build_networks(TINY, seed=0)
    prepared = tiny_prepared()
    ready = recalibrated(network.requires_grad_(requires_grad=False), prepared.density)
    ready.mean_correction.copy_(torch.from_numpy(_mottle().astype(np.float32))[:, None])
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
