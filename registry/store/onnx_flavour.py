"""The onnx flavour that MLflow itself can load, with the signature of a bundle's graph."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.bundle.directory import Bundle
from registry.bundle.manifest import GraphTensor

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def save_onnx_flavour(bundle: Bundle, path: Path) -> Path:
    """Write the flavour of a bundle's graph to a new directory, and return it."""
    import onnx  # noqa: PLC0415 — needed here alone

    with warnings.catch_warnings():  # MLflow warns of type hints in its own code, which it imports when it saves
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
        import mlflow.onnx  # noqa: PLC0415 — MLflow takes seconds to import

        mlflow.onnx.save_model(
            onnx.load_model(bundle.generator_path),
            str(path),
            signature=_signature(bundle),
            pip_requirements=["onnx", "onnxruntime"],
            save_as_external_data=False,
        )
    return path


def _signature(bundle: Bundle) -> "ModelSignature":
    from mlflow.models import ModelSignature  # noqa: PLC0415 — MLflow takes seconds to import
    from mlflow.types import Schema  # noqa: PLC0415 — MLflow takes seconds to import

    inputs, outputs = (
        Schema([_tensor_spec(tensor) for tensor in tensors])
        for tensors in (bundle.manifest.inputs, bundle.manifest.outputs)
    )
    return ModelSignature(inputs=inputs, outputs=outputs)


def _tensor_spec(tensor: GraphTensor) -> Any:  # noqa: ANN401 — MLflow's classes are imported when used
    import numpy as np  # noqa: PLC0415 — needed here alone
    from mlflow.types import TensorSpec  # noqa: PLC0415 — MLflow takes seconds to import

    return TensorSpec(np.dtype(tensor.dtype), [-1 if size == "batch" else size for size in tensor.shape], tensor.name)
