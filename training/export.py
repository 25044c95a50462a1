"""From a checkpoint's averaged generator to one ONNX file that computes the same."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from registry.bundle.graph import check_graph
from registry.bundle.manifest import PARITY_LIMIT
from registry.bundle.runtime import onnxruntime
from spect.errors import BundleError, ParityError
from spect.sampling import GeneratorInputs, draw_inputs
from training.checkpoint import RunFacts
from training.inference_form import to_inference_form
from training.networks.generator import INPUT_NAMES, OUTPUT_NAME, Generator

OPSET = 20  # what torch 2.13's exporter writes without a conversion of versions
PARITY_BATCHES = (1, 3, 8, 64)
PARITY_SEED = 1
MODEL_RANGE = 2.0  # from -1 to 1


def export_onnx(generator: Generator, facts: RunFacts, path: Path) -> dict[str, float]:
    """Write the generator in its inference form as ONNX with a free batch axis; return its parity, by batch size.

    Parity is that of the written file with the network as it was trained.

    Parameters
    ----------
    generator
        In eval mode, on the CPU. Its spectral norms are written into its weights, in place: parametrised modules
        share their class with their copies, and stripping a copy breaks the original.
    facts
        Sizes and density of the run.
    path
        Where the file goes; nothing is left there when parity fails.

    Returns
    -------
    dict
        "1", "3", "8", "64" -> largest absolute difference to torch, as a share of the model range.

    Raises
    ------
    ParityError
        The graph differs from the network by more than 1e-4 of the model range, or holds randomness.
    """
    expected = {size: _run_torch(generator, _example_inputs(facts, size)) for size in PARITY_BATCHES}
    try:
        write_graph(to_inference_form(generator.remove_parametrizations()), _example_inputs(facts, 2), path)
        check_graph(path.read_bytes(), name="the exported graph")
    except BundleError as error:
        path.unlink(missing_ok=True)
        raise ParityError(str(error)) from None
    parity = {str(size): _compare(expected[size], _example_inputs(facts, size), path) for size in PARITY_BATCHES}
    worst = max(parity.values())
    if not worst <= PARITY_LIMIT:  # also refuses NaN
        path.unlink(missing_ok=True)
        raise ParityError(
            f"the exported graph differs from the network by {worst:.1e} of the model range, at most {PARITY_LIMIT:g} "
            "is allowed; export again with the pinned versions of torch, onnx and onnxruntime"
        )
    return parity


def write_graph(generator: nn.Module, inputs: GeneratorInputs, path: Path) -> None:
    """Write a network as ONNX with a free batch axis, constants folded, into one file."""
    batch = torch.export.Dim("batch")
    with _quiet_exporter():
        torch.onnx.export(
            generator,
            _as_tensors(inputs),
            path,
            input_names=list(INPUT_NAMES),
            output_names=[OUTPUT_NAME],
            dynamic_shapes={name: {0: batch} for name in INPUT_NAMES},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    _forget_origin(path)


def _forget_origin(path: Path) -> None:
    """Remove what the exporter notes beside the graph: its stack traces name files and folders of this machine."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.save(model, path)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says of itself: that torchvision is not installed, and of its own deprecations."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _as_tensors(inputs: GeneratorInputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.from_numpy(inputs.latents), torch.from_numpy(inputs.condition), torch.from_numpy(inputs.quantities)


def _example_inputs(facts: RunFacts, size: int) -> GeneratorInputs:
    """Draw inputs of the conditions that the network was taught, in turn."""
    taught = facts.density.conditions
    return GeneratorInputs.concatenate(
        [
            draw_inputs(
                facts.density,
                condition=taught[row % len(taught)],
                seed=PARITY_SEED,
                start=row,
                count=1,
                latent_size=facts.latent_size,
            )
            for row in range(size)
        ]
    )


@torch.no_grad()
def _run_torch(generator: Generator, inputs: GeneratorInputs) -> NDArray[np.float32]:
    images: NDArray[np.float32] = generator(*_as_tensors(inputs)).numpy()
    return images


def _compare(expected: NDArray[np.float32], inputs: GeneratorInputs, path: Path) -> float:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    values = (inputs.latents, inputs.condition, inputs.quantities)
    (actual,) = session.run([OUTPUT_NAME], dict(zip(INPUT_NAMES, values, strict=True)))
    return float(np.abs(actual - expected).max() / MODEL_RANGE)
