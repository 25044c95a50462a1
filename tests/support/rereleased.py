"""Re-release a bundle whose graph does something more to what it makes: drift and faults as they would come in service.

Manifest, profile and card stay; the panel is bound to the changed graph, so that the bundle is whole in every check.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from registry.bundle.directory import Bundle, compute_sha256, write_bundle
from registry.bundle.manifest import CARD_NAME, GENERATOR_NAME, PANEL_NAME, PROFILE_NAME

OUTPUT, BEFORE = "model_images", "unchanged_model_images"
Nodes = tuple[list[onnx.NodeProto], dict[str, NDArray[np.float32]]]
Change = Callable[[], Nodes]


def scaled(gain: float) -> Change:
    """Multiply counts: in the model's range [-1, 1], -1 is no counts."""
    return lambda: (
        [
            helper.make_node("Add", [BEFORE, "change_one"], ["change_counts"]),
            helper.make_node("Mul", ["change_counts", "change_gain"], ["change_scaled"]),
            helper.make_node("Sub", ["change_scaled", "change_one"], [OUTPUT]),
        ],
        {"change_one": np.float32([1.0]), "change_gain": np.float32([gain])},
    )


def blurred(fwhm_mm: float, *, pixel_spacing_mm: float) -> Change:
    """Blur counts by a Gaussian, as a convolution; nothing lies beyond the border."""
    reach = int(np.ceil(1.5 * fwhm_mm / pixel_spacing_mm))
    at = np.arange(-reach, reach + 1) * pixel_spacing_mm
    weights = np.exp(-4 * np.log(2) * (at / fwhm_mm) ** 2)
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    return lambda: (
        [
            helper.make_node("Add", [BEFORE, "change_one"], ["change_counts"]),
            helper.make_node("Conv", ["change_counts", "change_kernel"], ["change_blurred"], pads=[reach] * 4),
            helper.make_node("Sub", ["change_blurred", "change_one"], [OUTPUT]),
        ],
        {"change_one": np.float32([1.0]), "change_kernel": kernel[None, None].astype(np.float32)},
    )


def spoiled(value: float, *, beyond: float) -> Change:
    """Put one value into every pixel of the slices whose first latent lies beyond a limit, and leave the others."""
    return lambda: (
        [
            helper.make_node("Slice", ["latents", "change_first", "change_end", "change_axis"], ["change_latent"]),
            helper.make_node("Greater", ["change_latent", "change_limit"], ["change_hit_of_two"]),
            helper.make_node("Reshape", ["change_hit_of_two", "change_shape"], ["change_hit"]),
            helper.make_node("Where", ["change_hit", "change_value", BEFORE], [OUTPUT]),
        ],
        {
            "change_first": np.array([0]),
            "change_end": np.array([1]),
            "change_axis": np.array([1]),
            "change_limit": np.float32([[beyond]]),
            "change_shape": np.array([-1, 1, 1, 1]),
            "change_value": np.float32([[[[value]]]]),
        },
    )


def rerelease(bundle: Bundle, destination: Path, change: Change) -> Bundle:
    """Write the bundle again with a changed graph."""
    graph = _change_graph(bundle.generator_path.read_bytes(), change)
    staged = destination.parent / f"{destination.name}-{GENERATOR_NAME}"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(graph)
    assert bundle.panel is not None
    panel = bundle.panel.model_copy(update={"onnx_sha256": compute_sha256(staged)})
    staged.unlink()
    files: dict[str, bytes | Path] = {
        GENERATOR_NAME: graph,
        PROFILE_NAME: bundle.profile_path,
        PANEL_NAME: panel.model_dump_json().encode(),
        CARD_NAME: bundle.card.encode(),
    }
    fields = bundle.manifest.model_dump(mode="json", exclude={"files"})
    return write_bundle(files, fields, destination)


def _change_graph(content: bytes, change: Change) -> bytes:
    model = onnx.load_model_from_string(content)
    for node in model.graph.node:
        node.output[:] = [BEFORE if name == OUTPUT else name for name in node.output]
        node.input[:] = [BEFORE if name == OUTPUT else name for name in node.input]
    nodes, constants = change()
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    del model.graph.value_info[:]
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed
