"""Which graphs may be released: standard, whole, repeatable ones; every other is refused with the reason."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from registry.bundle.directory import Bundle, write_bundle
from registry.bundle.graph import RANDOM_OPERATORS, check_graph, check_graph_file, find_opset
from registry.bundle.manifest import GENERATOR_NAME
from spect.errors import BundleError
from tests.support.tiny_bundle import build_graph, tiny_manifest_fields


def _graph(nodes: Sequence[onnx.NodeProto], *, opset: int = 20, functions: Sequence[onnx.FunctionProto] = ()) -> bytes:
    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    domains = {node.domain for node in nodes if node.domain}
    model = helper.make_model(
        helper.make_graph(nodes, "g", image[:1], image[1:]),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)],
        functions=functions,
        ir_version=10,
    )
    content: bytes = model.SerializeToString()
    return content


def _refusal(content: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        check_graph(content, name="generator.onnx")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_graph_of_a_release_passes_and_states_its_opset() -> None:
    check_graph(build_graph(), name="generator.onnx")
    assert find_opset(build_graph()) == 20


def test_an_unknown_operator_is_named() -> None:
    said = _refusal(_graph([helper.make_node("Conjure", ["x"], ["y"])]))
    assert said.startswith("generator.onnx uses operator Conjure, which is not of ONNX opset 20")


def test_an_operator_of_one_runtime_alone_is_named_with_its_domain() -> None:
    """ONNX Runtime would open it; another runtime, or the next version, would not."""
    said = _refusal(_graph([helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")]))
    assert "operator FusedMatMul of domain com.microsoft" in said


def test_an_operator_of_a_later_opset_is_named() -> None:
    assert "operator Gelu, which is not of ONNX opset 17" in _refusal(
        _graph([helper.make_node("Gelu", ["x"], ["y"])], opset=17)
    )


def test_an_opset_from_the_future_asks_for_an_update() -> None:
    assert "opset 99, this synspect reads up to" in _refusal(_graph([helper.make_node("Relu", ["x"], ["y"])], opset=99))


@pytest.mark.parametrize("operator", sorted(RANDOM_OPERATORS - {"Multinomial", "RandomNormal", "RandomUniform"}))
def test_a_graph_that_draws_random_numbers_is_refused(operator: str) -> None:
    said = _refusal(_graph([helper.make_node(operator, ["x"], ["y"])]))
    assert said == (
        f"generator.onnx draws random numbers (operator {operator}): no seed could repeat a slice; export without"
    )


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_a_graph_that_draws_from_nothing_is_refused(operator: str) -> None:
    assert f"(operator {operator})" in _refusal(_graph([helper.make_node(operator, [], ["y"], shape=[1, 4])]))


def test_a_random_number_inside_a_branch_is_found() -> None:
    inner = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])]
    branch = helper.make_graph([helper.make_node("RandomNormal", [], ["z"], shape=[1, 4])], "branch", [], inner)
    chooser = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert "(operator RandomNormal)" in _refusal(_graph([chooser]))


def test_a_graph_with_functions_of_its_own_is_refused() -> None:
    function = helper.make_function(
        "own", "Hidden", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    said = _refusal(_graph([helper.make_node("Hidden", ["x"], ["y"], domain="own")], functions=[function]))
    assert "defines operators of its own (Hidden)" in said


def test_shapes_that_contradict_each_other_are_refused() -> None:
    reshaped = [
        helper.make_node("Constant", [], ["s"], value=helper.make_tensor("s", TensorProto.INT64, [2], [-1, 3])),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    assert "is not a valid ONNX graph (" in _refusal(_graph(reshaped))


@pytest.mark.parametrize("content", [b"not a graph", b"", b"\x80\x04cos\nsystem\n."])
def test_a_file_that_is_no_graph_is_refused(content: bytes) -> None:
    assert "ONNX graph" in _refusal(content)


def test_a_bundle_is_never_written_around_a_graph_that_may_not_be_released(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {name: tiny_bundle.path / name for name in tiny_bundle.manifest.files}
    noisy = _graph([helper.make_node("RandomNormalLike", ["x"], ["y"])])

    with pytest.raises(BundleError, match="draws random numbers"):
        write_bundle(files | {GENERATOR_NAME: noisy}, tiny_manifest_fields(), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_exchanged_after_its_digest_was_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / GENERATOR_NAME).write_bytes(build_graph())

    with pytest.raises(BundleError, match="changed while it was verified"):
        check_graph_file(tmp_path / GENERATOR_NAME, "0" * 64)
