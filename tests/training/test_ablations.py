"""Each preset and each ablation trains by the one path, and exports under the one contract."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from lightning_fabric import Fabric

from cohort.store import save_cohort
from spect.conditions import CONDITIONS
from spect.errors import RunError
from tests.support.tiny_training import TINY, SilentProgress, tiny_cohort, tiny_prepared
from training.augment import augment, draw_augmentation
from training.checkpoint import load_averaged_generator
from training.config import TrainingConfig
from training.export import export_onnx
from training.inference_form import to_inference_form
from training.loop import TrainingLoop
from training.networks.build import build_networks
from training.networks.discriminator import Discriminator
from training.networks.generator import INPUT_NAMES, Generator
from training.networks.shared_norm import SharedBatchNorm
from training.presets import PRESETS
from training.release.release import release
from training.run import RunDirectory
from training.session import NewRun, start_run

SMALL = ("matrix=64", "width=2", "latent_size=8", "embedding_size=8", "images=16", "validation_slices=8")
PAPER = PRESETS["paper"].changed_by([*SMALL, "log_every=16", "validate_every=16"])
SHORT = dataclasses.replace(TINY, images=16, validate_every=16, checkpoint_every=16)

ABLATIONS = (
    "conditioning=condition",
    "principal_scores=0",
    "texture_matrix=none",
    "detail_gain=none",
    "upsampling=nearest",
    "averaging_half_life=none",
    "r1_strength=0",
    "lecam_weight=0",
    "quantity_weight=0",
    "normalisation=batch",
    "deviation_group=none",
    "reconstruction=acquired",
    "sampling=count",
    "gradient_limit=none",
    "latent_recovery_weight=1",
    "discriminator_width=3",
    "discriminator_steps=2",
    "density_components=2",
)


def _step(config: TrainingConfig) -> dict[str, float]:
    """Losses of the first step."""
    run = RunDirectory(Path("never written"))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    kept = {name: getattr(config, name) for name in ("principal_scores", "density_components")}
    prepared = tiny_prepared(dataclasses.replace(TINY, **kept))
    loop = TrainingLoop(run=run, prepared=prepared, config=config, seed=3, fabric=fabric)
    return dict(loop._step())


@pytest.mark.parametrize("change", ABLATIONS)
def test_every_ablation_takes_a_sound_step_with_the_terms_it_should_have(change: str) -> None:
    losses = _step(SHORT.changed_by([change]))
    assert all(np.isfinite(value) for value in losses.values())
    assert ("r1" in losses) == (change != "r1_strength=0")
    assert ("quantity_error" in losses) == (change not in ("conditioning=condition", "quantity_weight=0"))


def test_the_averaged_generator_without_averaging_is_the_trained_one(tmp_path: Path) -> None:
    save_cohort(tiny_cohort(), tmp_path / "cohort")
    config = SHORT.changed_by(["averaging_half_life=none", "kept_checkpoint=last"])
    wanted = NewRun(cohort_path=tmp_path / "cohort", preset="tiny", config=config, dataset="A", seed=3)
    run, _ = start_run(wanted, tmp_path / "run", tracker="none", progress=SilentProgress())
    last = torch.load(run.checkpoint("last"), weights_only=True)
    assert all(torch.equal(last["averaged"][name], tensor) for name, tensor in last["generator"].items())
    assert run.checkpoint("best").exists()


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    directory = tmp_path_factory.mktemp("paper")
    save_cohort(tiny_cohort(), directory / "cohort")
    wanted = NewRun(cohort_path=directory / "cohort", preset="paper", config=PAPER, dataset="A", seed=0)
    return start_run(wanted, directory / "run", tracker="none", progress=SilentProgress())[0]


def test_the_baseline_is_the_author_s_code(paper_run: RunDirectory) -> None:
    record = paper_run.record()
    assert record.changed_settings["matrix"] == 64, "what was changed of the preset is in config.json"
    generator, discriminator = build_networks(record.config, 0)
    assert not any("parametrizations" in name for name, _ in generator.named_parameters())
    assert any(isinstance(module, SharedBatchNorm) for module in discriminator.modules())
    condition = torch.tensor([0, 7])
    latents, quantities = torch.ones(2, 8), torch.zeros(2, 2)
    with torch.no_grad():
        images = [g(latents, condition, q) for g in (generator.eval(),) for q in (quantities, quantities + 5)]
        judged = [discriminator.eval()(images[0], c, quantities, 1.0).logits for c in (condition, 7 - condition)]
    assert torch.equal(*images), "it does not hear of quantities"
    assert not torch.equal(images[0][0], images[0][1]), "it hears of the condition with its latents"
    assert not torch.allclose(*judged), "the discriminator sees the condition as planes"


def test_the_baseline_exports_under_the_contract_but_is_not_released(paper_run: RunDirectory, tmp_path: Path) -> None:
    generator, facts = load_averaged_generator(paper_run)
    parity = export_onnx(generator, facts, tmp_path / "generator.onnx")
    assert max(parity.values()) < 1e-4
    graph = onnx.load(tmp_path / "generator.onnx").graph
    assert tuple(node.name for node in graph.input) == INPUT_NAMES
    with pytest.raises(RunError, match=r"preset paper\) was trained without quantities, .*; validate it, or train"):
        release(paper_run, tmp_path / "nowhere", destination=tmp_path / "bundle")


@pytest.mark.parametrize(
    "changes",
    [("texture_matrix=none",), ("upsampling=nearest",), ("conditioning=condition",), ("averaging_half_life=none",)],
)
def test_every_generator_is_the_same_function_in_the_form_it_is_released_in(changes: tuple[str, ...]) -> None:
    config = SHORT.changed_by(changes)
    generator = build_networks(config, 0)[0]
    condition = torch.arange(8)
    latents, quantities = torch.randn(8, config.input_latents), torch.randn(8, config.quantity_size)
    with torch.no_grad():
        generator(latents, condition, quantities)  # its batch norms leave their start
        expected = generator.eval().remove_parametrizations()(latents, condition, quantities)
        rewritten = to_inference_form(generator)(latents, condition, quantities)
    assert torch.allclose(rewritten, expected, atol=1e-5)


def test_colour_augmentation_moves_brightness_and_contrast_and_is_off_in_our_presets() -> None:
    images = torch.linspace(-1, 1, 16 * 64 * 64).reshape(16, 1, 64, 64)
    drawn = draw_augmentation(dataclasses.replace(PAPER, translation=0.0, cutout=0.0), 16, np.random.default_rng(0))
    changed = augment(images, drawn)
    shift = (changed - images).mean(dim=(1, 2, 3))
    assert 0.1 < float(shift.abs().max()) <= 0.5
    contrast = changed.flatten(1).std(dim=1) / images.flatten(1).std(dim=1)
    assert 0.5 <= float(contrast.min()) < 0.9
    assert 1.1 < float(contrast.max()) <= 1.5
    assert draw_augmentation(PRESETS["brain64"], 16, np.random.default_rng(0)).colour is None


@pytest.mark.parametrize("name", ["brain128", "paper"])
def test_the_large_presets_build_at_their_own_resolution(name: str) -> None:
    config = PRESETS[name].changed_by(["width=2", "embedding_size=8"])
    generator, discriminator = Generator(config), Discriminator(config)
    n = 2 * (config.deviation_group or 1)
    condition = torch.arange(n) % len(CONDITIONS)
    quantities = torch.zeros(n, config.quantity_size)
    with torch.no_grad():
        images = generator(torch.randn(n, config.input_latents), condition, quantities)
        judged = discriminator(images, condition, quantities, 1.0, quadrant=1, reconstruct=1)
    assert images.shape == (n, 1, 128, 128)
    assert judged.reconstructed_part.shape == (1, 1, 64, 64)


def test_dataset_b_trains_on_the_cortex_alone_and_says_so(tmp_path: Path) -> None:
    save_cohort(tiny_cohort(), tmp_path / "cohort")
    wanted = NewRun(cohort_path=tmp_path / "cohort", preset="tiny", config=SHORT, dataset="B", seed=3)
    run, outcome = start_run(wanted, tmp_path / "run", tracker="none", progress=SilentProgress())
    assert outcome.is_finished
    assert run.record().dataset == "B"
    served = load_density(run)
    assert served == {"COR/normal", "COR/unilateral", "COR/bilateral"}


def load_density(run: RunDirectory) -> set[str]:
    return set(torch.load(run.checkpoint("best"), weights_only=True)["density"]["conditions"])
