"""A released bundle without training: a hand-made graph that draws a brain-like blob from its three inputs.

The graph answers to what a trained one answers to: mean counts and the left/right ratio follow the quantities, level
and pattern follow the condition, the rest follows the latents. `output_gain` re-releases it with scaled output.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from registry.bundle.directory import Bundle, compute_sha256, write_bundle
from registry.bundle.manifest import CARD_NAME, GENERATOR_NAME, PANEL_NAME, PROFILE_NAME
from registry.bundle.panel import Measurement, Panel
from spect.conditions import CONDITIONS, Condition, Level, Pattern
from spect.density import GaussianMixture, QuantityDensity
from tests.support.drift_samples import make_profile

MATRIX = 64
PIXEL_SPACING_MM = 4.0
LATENT_SIZE = 8
MAX_COUNTS = 120.0
NAMES = ("mean_counts", "log_left_right_ratio", "score_1", "score_2")
CENTER = np.array([50.0, 0.0, 0.0, 0.0])
SCALE = np.array([6.0, 0.1, 1.0, 1.0])
TRAINING_FINGERPRINT = "1" * 64
COHORT_FINGERPRINT = "2" * 64
CREATED_AT = "2026-01-01T00:00:00+00:00"
PATTERNS = tuple(map(str, Pattern))


def tiny_density() -> QuantityDensity:
    """A density by hand: unilateral is a mixture of two sides, the rest one Gaussian."""
    return QuantityDensity(
        names=NAMES,
        center=CENTER,
        scale=SCALE,
        mixtures={condition: _mixture(condition) for condition in CONDITIONS},
        support={
            condition: {"mean_counts": (25.0, 80.0), "log_left_right_ratio": (-0.6, 0.6)} for condition in CONDITIONS
        },
    )


def _mixture(condition: Condition) -> GaussianMixture:
    unilateral = condition.pattern is Pattern.UNILATERAL
    mean_counts = {Pattern.NORMAL: 0.3, Pattern.UNILATERAL: -0.2, Pattern.BILATERAL: -0.8}[condition.pattern]
    sides = [-1.5, 1.5] if unilateral else [0.0]
    spread = 0.5 if unilateral else 0.2
    means = np.array([[mean_counts, side, 0.0, 0.0] for side in sides])
    factor = np.diag([1.0, spread, 1.0, 1.0])
    factor[2, 0] = 0.3
    return GaussianMixture(
        weights=np.full(len(sides), 1 / len(sides)), means=means, factors=np.stack([factor] * len(sides))
    )


def brain_templates() -> NDArray[np.float32]:
    """One template a condition, (8, 64, 64), mean 1 inside the head, 0 outside, symmetric."""
    axis_mm = (np.arange(MATRIX) - (MATRIX - 1) / 2) * PIXEL_SPACING_MM
    y, x = np.meshgrid(axis_mm, axis_mm, indexing="ij")
    sizes = {Level.CEREBELLUM: (50.0, 42.0), Level.BASAL_GANGLIA: (66.0, 82.0), Level.CORTEX: (60.0, 76.0)}
    templates = []
    for condition in CONDITIONS:
        half_width, half_height = sizes[condition.level]
        radius = np.hypot(x / half_width, y / half_height)
        inside = 1 / (1 + np.exp((radius - 1) * 20))
        grey = 0.55 + 0.6 * np.exp(-(((radius - 0.8) / 0.2) ** 2))  # a rim of cortex around white matter
        if condition.level is Level.BASAL_GANGLIA:
            grey += 0.5 * np.exp(-(((np.abs(x) - 25) / 9) ** 2) - (y / 14) ** 2)
        if condition.pattern is Pattern.BILATERAL:
            grey *= 1 - 0.4 * np.exp(-(((np.abs(x) - 40) / 18) ** 2) - ((y - 20) / 22) ** 2)
        template = grey * inside
        template[radius > 1.25] = 0
        templates.append(template / template[radius < 1].mean())
    return np.array(templates, dtype=np.float32)


def _textures(rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth left-right symmetric patterns (LATENT_SIZE + 2, 64 * 64) for latents and scores."""
    axis = np.linspace(-np.pi, np.pi, MATRIX)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    waves = [
        np.cos(rng.integers(1, 5) * np.abs(x)) * np.cos(rng.integers(1, 5) * y + rng.uniform(0, 6)) for _ in range(10)
    ]
    return np.array(waves, dtype=np.float32).reshape(LATENT_SIZE + 2, -1)


def build_graph(*, output_gain: float = 1.0) -> bytes:
    """The graph: counts = gain(q0) * template[condition] * sides(q1) * (1 + texture(latents, scores))."""
    pixels = MATRIX * MATRIX
    axis = np.arange(MATRIX) - (MATRIX - 1) / 2
    left_right = np.tanh(axis * PIXEL_SPACING_MM / 4) / 2  # patient's left, image right, is positive
    constants: dict[str, NDArray[np.floating]] = {
        "templates": brain_templates().reshape(len(CONDITIONS), pixels),
        "sides": np.broadcast_to(left_right, (MATRIX, MATRIX)).reshape(1, pixels),
        "textures": _textures(np.random.default_rng(0)) * 0.03,
        "mean_scale": SCALE[:1].reshape(1, 1),
        "mean_center": CENTER[:1].reshape(1, 1),
        "ratio_scale": SCALE[1:2].reshape(1, 1),
        "one": np.ones((1, 1)),
        "to_model": np.full((1, 1), 2 * output_gain / MAX_COUNTS),
    }
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    integers = {"shape": [-1, 1, MATRIX, MATRIX], "split": [1, 1, 2]}
    initializers += [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in integers.items()]
    nodes = [
        helper.make_node("Split", ["quantities", "split"], ["q_mean", "q_ratio", "q_scores"], axis=1),
        helper.make_node("Mul", ["q_mean", "mean_scale"], ["mean_raw"]),
        helper.make_node("Add", ["mean_raw", "mean_center"], ["mean_counts"]),
        helper.make_node("Gather", ["templates", "condition"], ["template"], axis=0),
        helper.make_node("Mul", ["q_ratio", "ratio_scale"], ["log_ratio"]),
        helper.make_node("Mul", ["log_ratio", "sides"], ["log_sides"]),
        helper.make_node("Exp", ["log_sides"], ["side_factor"]),
        helper.make_node("Concat", ["latents", "q_scores"], ["free"], axis=1),
        helper.make_node("MatMul", ["free", "textures"], ["texture"]),
        helper.make_node("Add", ["texture", "one"], ["texture_factor"]),
        helper.make_node("Mul", ["template", "side_factor"], ["sided"]),
        helper.make_node("Mul", ["sided", "texture_factor"], ["shaped"]),
        helper.make_node("Mul", ["shaped", "mean_counts"], ["counts"]),
        helper.make_node("Mul", ["counts", "to_model"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["bounded"]),
        helper.make_node("Reshape", ["bounded", "shape"], ["model_images"]),
    ]
    initializers += [
        numpy_helper.from_array(np.array(edge, np.float32), name) for name, edge in (("low", -1), ("high", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["batch", LATENT_SIZE]),
            helper.make_tensor_value_info("condition", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("quantities", TensorProto.FLOAT, ["batch", len(NAMES)]),
        ],
        [helper.make_tensor_value_info("model_images", TensorProto.FLOAT, ["batch", 1, MATRIX, MATRIX])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def unbounded_graph(*, output_gain: float = 10.0) -> bytes:
    """The graph without its last bound, and too loud: sound in every other respect."""
    model = onnx.load_model_from_string(build_graph(output_gain=output_gain))
    (bound,) = [node for node in model.graph.node if node.op_type == "Clip"]
    bound.op_type = "Identity"
    del bound.input[1:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def mixing_graph() -> bytes:
    """The graph with a hundredth of each slice's distance from its batch's mean added: alone, it is the same graph."""
    model = onnx.load_model_from_string(build_graph())
    place, bound = next((i, node) for i, node in enumerate(model.graph.node) if node.op_type == "Clip")
    bound.input[0] = "mixed"
    mixing = [
        helper.make_node("ReduceMean", ["shifted", "over_batch"], ["batch_mean"], keepdims=1),
        helper.make_node("Sub", ["shifted", "batch_mean"], ["distance"]),
        helper.make_node("Mul", ["distance", "hundredth"], ["a_little"]),
        helper.make_node("Add", ["shifted", "a_little"], ["mixed"]),
    ]
    for node in reversed(mixing):
        model.graph.node.insert(place, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "over_batch"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.01, np.float32), "hundredth"))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


# Of slices 0 to 2,999 of COR/normal and seed 0, the unbounded graph of this gain makes this one too loud and no other.
LATE_INDEX, LATE_GAIN = 597, 120 / 107.4


def tiny_manifest_fields() -> dict[str, Any]:
    """Everything a manifest says except the digests."""
    return {
        "name": "synspect",
        "created_at": CREATED_AT,
        "git_commit": "0" * 40,
        "run_id": "tiny",
        "training_cohort": {
            "fingerprint": TRAINING_FINGERPRINT,
            "source": "simulated",
            "simulator_version": "1",
            "slices": 938,
            "intensity_unit": "counts",
            "intensity_scaling": "whole-cohort",
        },
        "conditions": tuple(map(str, CONDITIONS)),
        "inputs": (
            {"name": "latents", "dtype": "float32", "shape": ("batch", LATENT_SIZE)},
            {"name": "condition", "dtype": "int64", "shape": ("batch",)},
            {"name": "quantities", "dtype": "float32", "shape": ("batch", len(NAMES))},
        ),
        "outputs": ({"name": "model_images", "dtype": "float32", "shape": ("batch", 1, MATRIX, MATRIX)},),
        "quantity_density": tiny_density().to_dict(),
        "latent_size": LATENT_SIZE,
        "matrix": MATRIX,
        "pixel_spacing_mm": PIXEL_SPACING_MM,
        "max_counts": MAX_COUNTS,
        "parity": {"1": 2e-7, "3": 2e-7, "64": 3e-7},
        "validation": {},
    }


# Measurements that pass every gate; tests change one at a time.
PASSING: dict[tuple[str, str], dict[str, Any]] = {
    ("onnx_parity", "all"): {"value": 3e-7},
    **{("mean_counts_ratio", p): {"value": 1.0, "low": 0.98, "high": 1.02, "power": 0.99} for p in PATTERNS},
    **{
        ("left_right_ratio_difference", p): {"value": 0.0, "low": -0.005, "high": 0.005, "power": 0.99}
        for p in ("normal", "bilateral")
    },
    ("absolute_log_left_right_ratio_difference", "unilateral"): {
        "value": 0.0,
        "low": -0.01,
        "high": 0.01,
        "power": 0.9,
    },
    **{("mean_counts_sd_ratio", p): {"value": 1.0, "low": 0.95, "high": 1.05} for p in PATTERNS},
    **{("log_left_right_ratio_sd_ratio", p): {"value": 1.0, "low": 0.95, "high": 1.05} for p in PATTERNS},
    **{("c2st_auc_inside_outline", p): {"value": 0.7, "low": 0.67, "high": 0.73} for p in PATTERNS},
    ("principal_component_sd_ratio", "all"): {"value": 0.9, "low": 0.85, "high": 0.95},
    ("memorisation_share", "all"): {"value": 0.05, "low": 0.045, "high": 0.055},
}


def tiny_panel(
    onnx_sha256: str,
    changes: Mapping[tuple[str, str], Mapping[str, Any] | None] | None = None,
    *,
    cohort_fingerprint: str = COHORT_FINGERPRINT,
) -> Panel:
    """A panel that passes every gate but for the changes; None removes a measurement."""
    measured = {**PASSING, **(changes or {})}
    return Panel(
        onnx_sha256=onnx_sha256,
        cohort_fingerprint=cohort_fingerprint,
        cohort_source="simulated",
        training_fingerprint=TRAINING_FINGERPRINT,
        git_commit="0" * 40,
        created_at=CREATED_AT,
        quick=False,
        seed=0,
        seconds=1.0,
        measurements=tuple(
            Measurement(metric=metric, cell=cell, slices_synthetic=1500, slices_reference=1500, **fields)
            for (metric, cell), fields in measured.items()
            if fields is not None
        ),
    )


def build_tiny_bundle(
    destination: Path,
    *,
    changes: Mapping[tuple[str, str], Mapping[str, Any] | None] | None = None,
    output_gain: float = 1.0,
    profile: bytes | None = None,
    graph: bytes | None = None,
    card: str = "# A tiny generator made by hand\n",
    cohort_fingerprint: str = COHORT_FINGERPRINT,
) -> Bundle:
    """Write the tiny bundle; two with equal arguments are equal byte for byte."""
    graph = graph or build_graph(output_gain=output_gain)
    staged = destination.parent / f"{destination.name}-{GENERATOR_NAME}"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(graph)
    panel = tiny_panel(compute_sha256(staged), changes, cohort_fingerprint=cohort_fingerprint)
    staged.unlink()
    files: dict[str, bytes | Path] = {
        GENERATOR_NAME: graph,
        PROFILE_NAME: profile or make_profile().to_json(),
        PANEL_NAME: panel.model_dump_json(indent=2).encode(),
        CARD_NAME: card.encode(),
    }
    return write_bundle(files, tiny_manifest_fields(), destination)
