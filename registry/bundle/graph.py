"""What a released graph may be: standard ONNX operators in one file, nothing drawn inside it, valid in full.

ONNX Runtime alone would open graphs with operators of its own domains, with random numbers, with files beside them.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import onnx
from onnx.shape_inference import InferenceError as ShapeError

from spect.errors import BundleError

_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
# A seed could repeat no slice of a graph that holds one of these.
RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
# A tensor kept outside the graph names its file in a protobuf entry with the key "location" (onnx.proto,
# TensorProto.external_data): tag 1, length 8, the key, tag 2. Found as bytes, wherever in the graph the tensor is, once
# the graph is written anew: in a file the entries of a message may stand in any order.
_EXTERNAL_DATA_ENTRY = b"\x0a\x08location\x12"


@lru_cache(maxsize=64)  # a follower looks every ten seconds; the digest says that nothing changed
def check_graph_file(path: Path, sha256: str) -> None:
    """Check the graph in a file that was verified to have this digest; raise `BundleError` with what is wrong."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{path} changed while it was verified; use a copy that is whole")
    check_graph(content, name=str(path))


def check_graph(content: bytes, *, name: str) -> None:
    """Check a serialised graph; raise `BundleError`, which calls it by `name`, with the first thing wrong.

    Standard operators of an opset that is known here, no random numbers, no tensors in other files, and what
    `onnx.checker` asks of shapes and types.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # noqa: BLE001 — protobuf's own DecodeError; protobuf is ONNX's to choose
        raise BundleError(f"{name} is not an ONNX graph; release the model again") from None
    if _EXTERNAL_DATA_ENTRY in model.SerializeToString():
        raise BundleError(f"{name} keeps tensors in other files; export it as one file")
    fault = _find_fault(content, name)
    _check_operators(model, name)
    if fault:
        raise BundleError(f"{name} is not a valid ONNX graph ({fault}); release the model again")


def _find_fault(content: bytes, name: str) -> str:
    """Return what `onnx.checker` finds wrong, in one line; its words for an unknown operator are not ours."""
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, ShapeError) as error:
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
    except ValueError:
        raise BundleError(f"{name} is not an ONNX graph; release the model again") from None
    return ""


def find_opset(content: bytes) -> int:
    """Return the version of the standard operators that a graph is written in; 0 where it names none."""
    return _opset(onnx.load_model_from_string(content))


def _opset(model: onnx.ModelProto) -> int:
    return max((int(entry.version) for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS), default=0)


def _check_operators(model: onnx.ModelProto, name: str) -> None:
    opset, known = _opset(model), onnx.defs.onnx_opset_version()
    if opset > known:
        raise BundleError(f"{name} is written in opset {opset}, this synspect reads up to {known}; update synspect")
    if model.functions:
        raise BundleError(f"{name} defines operators of its own ({model.functions[0].name}); release the model again")
    for node in _nodes(model.graph):
        what = f"operator {node.op_type}" + (f" of domain {node.domain}" if node.domain else "")
        if node.domain not in _STANDARD_DOMAINS or not onnx.defs.has(node.op_type, opset):
            raise BundleError(f"{name} uses {what}, which is not of ONNX opset {opset}; export with standard operators")
        if node.op_type in RANDOM_OPERATORS:
            raise BundleError(f"{name} draws random numbers ({what}): no seed could repeat a slice; export without")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those of the branches and loops inside other nodes too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
