"""The released generator: a verified ONNX graph, ONNX Runtime, and the seed rule; knows no torch."""

import hashlib
import logging
from pathlib import Path
from typing import Literal, Self

import numpy as np

from registry.bundle.directory import Bundle, compute_sha256
from registry.bundle.forked import outlive_forks
from registry.bundle.manifest import GraphTensor, Manifest, in_words
from registry.bundle.runtime import onnxruntime, onnxruntime_errors
from spect.conditions import Condition
from spect.density import Targets
from spect.errors import BundleError, DeviceError, InferenceError, InvalidOutputError, RequestError
from spect.sampling import GeneratorInputs, draw_inputs
from spect.slices import Counts, SyntheticBatch

log = logging.getLogger(__name__)

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

# TF32 alone would move counts by 1e-3 of the model range, ten times what the seed rule allows between devices.
# The default search times every algorithm anew for each batch size it meets; the heuristic does not.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_NUMPY_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}

# ONNX Runtime's errors share no base class of their own.
_GRAPH_ERRORS = (
    onnxruntime_errors.EngineError,
    onnxruntime_errors.EPFail,
    onnxruntime_errors.Fail,
    onnxruntime_errors.InvalidArgument,
    onnxruntime_errors.InvalidGraph,
    onnxruntime_errors.InvalidProtobuf,
    onnxruntime_errors.NotImplemented,
    onnxruntime_errors.RuntimeException,
)

# Counts may leave [0, max_counts] by the rounding of one float32 multiplication and addition.
_RANGE_TOLERANCE = 1e-5
# Slices of one run of the graph: memory stays bounded for any count.
DEFAULT_BATCH = 64


class ReleasedGenerator:
    """A bundle's generator, ready to run; safe to use from several threads.

    A process forked while nothing runs it may use it too, on one thread of the CPU; not where it runs on CUDA.

    Parameters
    ----------
    bundle
        A verified bundle; the graph is read once more and must still have its sha256.
    require_gpu
        Raise `DeviceError` unless the graph runs on CUDA.
    threads
        Threads of one run on the CPU; None leaves it to ONNX Runtime (one a core).
    """

    def __init__(self, bundle: Bundle, *, require_gpu: bool = False, threads: int | None = None) -> None:
        model = bundle.generator_path.read_bytes()
        if hashlib.sha256(model).hexdigest() != bundle.sha256:
            raise BundleError(f"{bundle.generator_path} changed after it was verified; use a copy that is whole")
        self.manifest = bundle.manifest
        self.version = bundle.version
        self.sha256 = bundle.sha256
        self._density = bundle.manifest.density()
        self._scale = bundle.manifest.intensity_scale()
        self._session = _open_session(model, require_gpu=require_gpu, threads=threads)
        _check_inputs_and_outputs(self._session, bundle.manifest)
        log.info("generator %s runs on %s", self.sha256[:12], self.provider)

    @classmethod
    def from_onnx(
        cls, path: Path, manifest: Manifest, *, require_gpu: bool = False, threads: int | None = None
    ) -> Self:
        """Open a graph that is not in a bundle yet, as `release` does to validate what it staged."""
        staged = Bundle(
            path=path.parent,
            manifest=manifest,
            panel=None,
            card="",
            sha256=compute_sha256(path),
            manifest_sha256="",
            generator_name=path.name,
        )
        return cls(staged, require_gpu=require_gpu, threads=threads)

    @property
    def provider(self) -> str:
        """Return what the session really runs on; the list of available providers does not tell."""
        return str(self._session.get_providers()[0])

    def draw_inputs(
        self, condition: Condition, *, seed: int, start: int = 0, count: int = 1, targets: Targets | None = None
    ) -> GeneratorInputs:
        """Draw the inputs of slices start to start + count - 1; raise `RequestError` for what cannot be served."""
        return draw_inputs(
            self._density,
            condition=condition,
            seed=seed,
            start=start,
            count=count,
            latent_size=self.manifest.latent_size,
            targets=targets,
        )

    def run(self, inputs: GeneratorInputs) -> Counts:
        """Make counts float32 (n, matrix, matrix) of n inputs, in one run of the graph; not checked.

        Raises `InferenceError` where ONNX Runtime cannot run it.
        """
        fed = {"latents": inputs.latents, "condition": inputs.condition, "quantities": inputs.quantities}
        try:
            (model_images,) = self._session.run(["model_images"], fed)
        except _GRAPH_ERRORS as error:
            first_line = str(error).splitlines()[0]
            raise InferenceError(
                f"ONNX Runtime cannot run {len(inputs.latents)} slices on {self.provider} ({first_line}); "
                "look at the memory that is free, then ask again"
            ) from error
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by name, and not sent
            return self._scale.to_counts(model_images)

    def check_counts_valid(self, counts: Counts) -> None:
        """Raise `InvalidOutputError` unless every slice is finite, in range and not constant."""
        check_counts_valid(counts, max_counts=self.manifest.max_counts)

    def generate(
        self,
        condition: Condition,
        *,
        seed: int,
        start: int = 0,
        count: int = 1,
        targets: Targets | None = None,
        batch: int = DEFAULT_BATCH,
    ) -> SyntheticBatch:
        """Make checked slices start to start + count - 1 of a condition, `batch` at a time.

        Raises
        ------
        RequestError
            For a seed, start, count or target out of range.
        InvalidOutputError
            If the graph made counts that must not be used.
        """
        if count < 1:
            raise RequestError(f"count must be at least 1, got {count}")
        parts = []
        for first in range(start, start + count, batch):
            size = min(batch, start + count - first)
            counts = self.run(self.draw_inputs(condition, seed=seed, start=first, count=size, targets=targets))
            self.check_counts_valid(counts)
            parts.append(counts)
        return SyntheticBatch(
            counts=np.concatenate(parts),
            level=np.full(count, condition.level.value),
            pattern=np.full(count, condition.pattern.value),
            seed=np.full(count, seed, dtype=np.int64),
            index=np.arange(start, start + count, dtype=np.int64),
            pixel_spacing_mm=self.manifest.pixel_spacing_mm,
            model_version=self.version,
            model_sha256=self.sha256,
            intensity_unit=self.manifest.training_cohort.intensity_unit,
        )


def check_counts_valid(counts: Counts, *, max_counts: float) -> None:
    """Raise `InvalidOutputError` with a reason unless every slice of (n, rows, columns) may leave the service.

    Reasons are "not_finite", "out_of_range" and "constant": a closed list, they label a metric.
    """
    flat = counts.reshape(len(counts), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)  # NaN anywhere in a slice makes both NaN
    slack = _RANGE_TOLERANCE * max_counts
    for reason, wrong in (
        ("not_finite", ~(np.isfinite(low) & np.isfinite(high))),
        ("out_of_range", (low < -slack) | (high > max_counts + slack)),
        ("constant", low == high),
    ):
        if wrong.any():
            raise InvalidOutputError(
                f"the generator made {int(wrong.sum())} of {len(counts)} slices {reason.replace('_', ' ')}; "
                "none is given out: ask for others, or of another model version",
                reason=reason,
                slices=int(wrong.sum()),
            )


def is_gpu_plausible() -> bool:
    """Whether a CUDA device node exists: worth loading CUDA's libraries for; a hint, never an answer."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _open_session(model: bytes, *, require_gpu: bool, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    # A memory plan for each batch size would be held beside the blocks it was drawn from.
    options.enable_mem_pattern = False
    # Threads that spin while idle would take the cores of the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str | tuple[str, dict[str, str]]] = [CPU_PROVIDER]
    if is_gpu_plausible() and CUDA_PROVIDER in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()
        providers.insert(0, (CUDA_PROVIDER, _CUDA_OPTIONS))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except _GRAPH_ERRORS as error:
        first_line = str(error).splitlines()[0]
        raise BundleError(f"ONNX Runtime cannot open the generator ({first_line}); release the model again") from None
    outlive_forks(session)
    provider = session.get_providers()[0]
    if require_gpu and provider != CUDA_PROVIDER:
        raise DeviceError(f"a GPU was required, but the session runs on {provider}; install synspect[cuda] or drop it")
    return session


def _check_inputs_and_outputs(session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
    for kind, nodes, expected in (
        ("inputs", session.get_inputs(), manifest.inputs),
        ("outputs", session.get_outputs(), manifest.outputs),
    ):
        actual = tuple(_describe(node) for node in nodes)
        if actual != expected:
            raise BundleError(
                f"the graph's {kind} are {in_words(actual)}, the manifest says {in_words(expected)}; "
                "release the model again"
            )


def _describe(node: "onnxruntime.NodeArg") -> GraphTensor:
    shape: tuple[int | Literal["batch"], ...] = tuple(size if isinstance(size, int) else "batch" for size in node.shape)
    return GraphTensor.model_construct(name=node.name, dtype=_NUMPY_TYPES.get(node.type, node.type), shape=shape)
