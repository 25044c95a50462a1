import numpy as np
import onnx
import onnxscript
import pytest
import torch

from registry.bundle.manifest import describe_graph
from registry.bundle.runtime import onnxruntime
from spect.errors import ParityError
from spect.intensity import ROUNDING
from training.checkpoint import load_averaged_generator
from training.export import OPSET, export_onnx


@pytest.fixture(scope="module")
def exported(taught_run, tmp_path_factory):
    generator, facts = load_averaged_generator(taught_run)
    path = tmp_path_factory.mktemp("export") / "generator.onnx"
    return path, facts, export_onnx(generator, facts, path)


def run_graph(path, latents, condition, quantities):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["model_images"], {"latents": latents, "condition": condition, "quantities": quantities})[0]


def draw(facts, n):
    rng = np.random.default_rng(3)
    return (
        rng.standard_normal((n, facts.latent_size)).astype(np.float32),
        rng.integers(0, 8, n),
        rng.standard_normal((n, len(facts.density.names))).astype(np.float32),
    )


def test_the_graph_agrees_with_the_network_for_one_three_and_many_slices(exported) -> None:
    _, _, parity = exported
    assert list(parity) == ["1", "3", "8", "64"]
    assert max(parity.values()) < 1e-5


def test_the_graph_is_one_file_of_the_stated_opset_with_a_free_batch_axis(exported) -> None:
    path, facts, _ = exported
    assert [file.name for file in path.parent.iterdir()] == ["generator.onnx"]
    model = onnx.load(path)
    assert [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}] == [OPSET]
    inputs, outputs = describe_graph(facts.latent_size, len(facts.density.names), facts.matrix)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for nodes, stated in ((session.get_inputs(), inputs), (session.get_outputs(), outputs)):
        assert [(node.name, tuple(node.shape)) for node in nodes] == [(one.name, one.shape) for one in stated]
    assert run_graph(path, *draw(facts, 7)).shape == (7, 1, 64, 64)


def test_nothing_is_left_in_the_graph_that_folding_could_still_remove(exported) -> None:
    model = onnx.load(exported[0])
    optimised = onnxscript.optimizer.optimize(model)
    assert len(optimised.graph.node) == len(model.graph.node)
    assert {node.domain for node in model.graph.node} == {""}
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert "Conv" not in {made.get(node.input[0]) for node in norms}  # those are part of their convolutions


def test_every_image_is_inside_the_model_range_whatever_is_asked(exported) -> None:
    path, facts, _ = exported
    images = run_graph(path, *(array * 100 if array.dtype == np.float32 else array for array in draw(facts, 32)))
    assert np.isfinite(images).all()
    assert np.abs(images).max() <= 1 + ROUNDING  # of a kernel's tanh


def test_the_graph_names_no_file_of_the_machine_that_wrote_it(exported) -> None:
    path, _, _ = exported
    content = path.read_bytes()
    assert b"networks.py" not in content
    assert b"site-packages" not in content
    assert not any(node.metadata_props for node in onnx.load(path).graph.node)


def test_a_slice_is_the_same_alone_and_among_others_and_when_drawn_again(exported) -> None:
    path, facts, _ = exported
    inputs = draw(facts, 5)
    together = run_graph(path, *inputs)
    assert np.array_equal(together, run_graph(path, *inputs))
    for size in (1, 2, 3):  # to the bit: the seed rule allows nothing less on one kind of CPU
        parts = [run_graph(path, *(array[i : i + size] for array in inputs)) for i in range(0, 5, size)]
        assert np.array_equal(np.concatenate(parts), together)


def test_the_exported_network_is_the_averaged_one_with_its_norms_written_into_the_weights(taught_run, tmp_path) -> None:
    generator, facts = load_averaged_generator(taught_run)
    latents, condition, quantities = (torch.from_numpy(array) for array in draw(facts, 4))
    before = generator(latents, condition, quantities)
    export_onnx(generator, facts, tmp_path / "generator.onnx")
    assert torch.equal(generator(latents, condition, quantities), before)
    assert not [name for name, _ in generator.named_parameters() if "parametrizations" in name]


def test_a_network_that_changes_between_two_runs_is_refused_and_leaves_no_file(taught_run, tmp_path) -> None:
    generator, facts = load_averaged_generator(taught_run)
    generator.train()  # batch norms that follow the batch: torch and the graph cannot agree
    with pytest.raises(ParityError, match="differs from the network"):
        export_onnx(generator, facts, tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())


class Noisy(torch.nn.Module):
    """A network with a noise layer that follows no seed."""

    def __init__(self, generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents, condition, quantities):
        images = self.generator(latents, condition, quantities)
        return torch.tanh(images + 1e-9 * torch.randn_like(images))

    def remove_parametrizations(self):
        self.generator.remove_parametrizations()
        return self


def test_a_network_that_draws_random_numbers_itself_is_refused_and_leaves_no_file(taught_run, tmp_path) -> None:
    generator, facts = load_averaged_generator(taught_run)
    with pytest.raises(ParityError, match=r"draws random numbers \(operator RandomNormalLike\): no seed could repeat"):
        export_onnx(Noisy(generator).eval(), facts, tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())
