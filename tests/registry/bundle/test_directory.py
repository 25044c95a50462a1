"""A bundle is verified on every load and appears whole or not at all."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from registry.bundle.directory import Bundle, load_bundle, write_bundle
from registry.bundle.manifest import GENERATOR_NAME, MANIFEST_NAME, PROFILE_NAME
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from spect.errors import BundleError
from tests.support.tiny_bundle import build_tiny_bundle, tiny_manifest_fields


@pytest.fixture
def copied(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "copied"))


def _rewrite_manifest(bundle: Path, **changes: object) -> None:
    fields = json.loads((bundle / MANIFEST_NAME).read_text())
    (bundle / MANIFEST_NAME).write_text(json.dumps(fields | changes))


def test_a_bundle_reads_back_as_it_was_written(tiny_bundle: Bundle) -> None:
    loaded = load_bundle(tiny_bundle.path)

    assert loaded == tiny_bundle
    assert loaded.panel is not None
    assert loaded.panel.onnx_sha256 == loaded.sha256
    assert loaded.version == "unregistered"


def test_a_bundle_made_twice_is_the_same_byte_for_byte(tiny_bundle: Bundle, tmp_path: Path) -> None:
    assert build_tiny_bundle(tmp_path / "again").manifest_sha256 == tiny_bundle.manifest_sha256


@pytest.mark.parametrize("name", [GENERATOR_NAME, PROFILE_NAME, "panel.json", "card.md"])
def test_one_changed_byte_is_refused(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)

    with pytest.raises(
        BundleError, match=rf"{name} has sha256 \w+, manifest says \w+; use a copy that is whole"
    ) as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [GENERATOR_NAME, PROFILE_NAME, "panel.json", "card.md"])
def test_a_missing_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()

    with pytest.raises(BundleError, match=f"lacks {name}"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["extra.bin", "figures/extra.png", ".hidden"])
def test_a_file_the_manifest_does_not_list_is_refused(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_bytes(b"x")

    with pytest.raises(BundleError, match=f"holds {name}, which its manifest does not list"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["weights.pkl", "figures/run.svg", "hooks.py"])
def test_a_manifest_that_lists_what_has_no_place_in_a_bundle_is_refused(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_bytes(b"x")
    listed = json.loads((copied / MANIFEST_NAME).read_text())["files"]
    _rewrite_manifest(copied, files=listed | {name: hashlib.sha256(b"x").hexdigest()})

    with pytest.raises(BundleError, match=f"'{name}' cannot be a file of a bundle") as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["card.md", "figures", "panel.json"])
def test_a_symbolic_link_in_a_bundle_is_refused(copied: Path, tmp_path: Path, name: str) -> None:
    """Even one that leads to the very same bytes: they could be exchanged after they were verified."""
    (copied / "figures").mkdir(exist_ok=True)
    elsewhere = shutil.move(copied / name, tmp_path / name)
    (copied / name).symlink_to(elsewhere)

    with pytest.raises(BundleError, match=f"{name} is a symbolic link, and a bundle holds plain files only"):
        load_bundle(copied)


def test_a_pipe_in_a_bundle_is_refused_and_not_read(copied: Path) -> None:
    os.mkfifo(copied / "figures.png")

    with pytest.raises(BundleError, match=r"figures\.png is no plain file"):
        load_bundle(copied)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matrix": 128}, r"outputs must be model_images float32 \['batch', 1, 128, 128\] .* got .*64, 64"),
        ({"latent_size": 9}, r"inputs must be latents float32 \['batch', 9\]"),
        ({"inputs": []}, "inputs must be latents"),
        ({"max_counts": 0}, "max_counts must be greater than 0, got 0"),
        ({"max_counts": float("inf")}, "max_counts must be a finite number"),
        ({"pixel_spacing_mm": float("nan")}, "pixel_spacing_mm must be"),
        ({"parity": {"1": 0.1}}, "parity must be measured and at most 0.0001"),
        ({"parity": {}}, "parity must be measured"),
        ({"parity": {"1": -1e-5}}, "parity must be differences of 0 or more by batch sizes from 1 on, got"),
        ({"parity": {"-8": 1e-6}}, "parity must be differences of 0 or more by batch sizes from 1 on, got"),
        ({"parity": {"0": 1e-6}}, "parity must be differences of 0 or more by batch sizes from 1 on, got"),
        ({"conditions": ["COR/normal"]}, "conditions must be"),
        ({"files": {GENERATOR_NAME: "0"}}, r"files\.generator\.onnx must match"),
    ],
)
def test_a_shape_or_a_range_that_cannot_be_is_refused(copied: Path, change: dict[str, object], words: str) -> None:
    _rewrite_manifest(copied, **change)

    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


def test_a_generator_that_was_not_taught_every_condition_is_no_bundle(copied: Path) -> None:
    density = load_bundle(copied).manifest.quantity_density
    del density["conditions"]["COR/normal"]
    _rewrite_manifest(copied, quantity_density=density)

    with pytest.raises(BundleError, match="quantity_density lacks COR/normal, which every bundle serves"):
        load_bundle(copied)


def test_a_newer_schema_is_refused_and_says_to_update(copied: Path) -> None:
    _rewrite_manifest(copied, schema_version=2, some_new_field=1)

    with pytest.raises(BundleError, match="schema version 2, this synspect reads up to 1; update synspect"):
        load_bundle(copied)


@pytest.mark.parametrize(("version", "got"), [(True, "true"), (1.0, "1.0"), ("1", "'1'")])
def test_a_schema_version_that_only_looks_like_one_is_refused(copied: Path, version: object, got: str) -> None:
    _rewrite_manifest(copied, schema_version=version)

    with pytest.raises(BundleError, match=rf"schema_version: must be the whole number 1, got {got}; release"):
        load_bundle(copied)


@pytest.mark.parametrize("name", ["extra", "figures", "extra/deeper"])
def test_an_empty_directory_is_refused_by_name(copied: Path, name: str) -> None:
    (copied / name).mkdir(parents=True)

    with pytest.raises(BundleError, match=f"holds the empty directory {name.split('/', maxsplit=1)[0]}.*; remove it"):
        load_bundle(copied)


def test_a_manifest_that_does_not_list_the_generator_is_refused(copied: Path) -> None:
    _rewrite_manifest(copied, files={})

    with pytest.raises(BundleError, match=r"lists no digest of card\.md, generator\.onnx"):
        load_bundle(copied)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 1}'])
def test_a_manifest_that_is_not_one_is_one_line(copied: Path, content: bytes) -> None:
    (copied / MANIFEST_NAME).write_bytes(content)

    with pytest.raises(BundleError, match=r"manifest\.json") as caught:
        load_bundle(copied)
    assert "\n" not in str(caught.value)


def test_a_directory_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle directory"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_graph_with_external_data_is_refused(tiny_bundle: Bundle, tmp_path: Path, *, is_turned: bool) -> None:
    """Also where a file's entries stand in an order that no exporter writes."""
    model = onnx.load_model(tiny_bundle.generator_path)
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "far_away")
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.ClearField("raw_data")
    model.graph.initializer.append(tensor)
    files: dict[str, bytes | Path] = {name: tiny_bundle.path / name for name in tiny_bundle.manifest.files}

    key, value = b"\x0a\x08location", b"\x12\x0d/etc/hostname"
    content = model.SerializeToString()
    assert key + value in content
    if is_turned:
        content = content.replace(key + value, value + key)

    with pytest.raises(BundleError, match="keeps tensors in other files"):
        write_bundle(files | {GENERATOR_NAME: content}, tiny_manifest_fields(), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [(GENERATOR_NAME, b"hello", "is not an ONNX graph"), ("card.md", b"\xff\xfe", "is not UTF-8 text")],
)
def test_files_that_are_not_what_they_should_be_are_refused(
    tiny_bundle: Bundle, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    files: dict[str, bytes | Path] = {name: tiny_bundle.path / name for name in tiny_bundle.manifest.files}
    with pytest.raises(BundleError, match=words):
        write_bundle(files | {name: content}, tiny_manifest_fields(), tmp_path / "b")


def test_an_existing_destination_is_never_overwritten(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="exists, and a bundle is never changed"):
        write_bundle({}, tiny_manifest_fields(), tiny_bundle.path)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/outside",
        "manifest.json",
        "weights.pkl",
        "model.py",
        "figures/../x.png",
        "figures/run.svg",
        "a.so",
    ],
)
def test_a_file_that_has_no_place_in_a_bundle_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be a file of a bundle"):
        write_bundle({name: b"x"}, tiny_manifest_fields(), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_manifest_leaves_nothing_behind(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {name: tiny_bundle.path / name for name in tiny_bundle.manifest.files}

    with pytest.raises(BundleError, match="the manifest cannot be written: parity must be measured"):
        write_bundle(files, tiny_manifest_fields() | {"parity": {"1": 0.5}}, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_figures_may_live_in_a_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {name: tiny_bundle.path / name for name in tiny_bundle.manifest.files}

    written = write_bundle(files | {"figures/samples.png": b"png"}, tiny_manifest_fields(), tmp_path / "b")

    assert "figures/samples.png" in written.manifest.files


def test_a_followed_directory_is_read_through_its_link(copied: Path, tmp_path: Path) -> None:
    pair = tmp_path / "followed" / "versions" / "3"
    pair.mkdir(parents=True)
    shutil.move(copied, pair / "bundle")
    save_promotion_note(PromotionNote(version="3", promotion="override", reason="first"), pair / PROMOTION_NAME)
    (tmp_path / "followed" / "current").symlink_to(Path("versions") / "3")

    through_link = load_bundle(tmp_path / "followed")

    assert through_link.version == "3"
    assert through_link.promotion is not None
    assert through_link.promotion.reason == "first"
    assert through_link.path == pair / "bundle"
    assert load_bundle(pair).version == "3"


def test_a_broken_promotion_note_is_refused(copied: Path, tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    pair.mkdir()
    shutil.move(copied, pair / "bundle")
    (pair / PROMOTION_NAME).write_text('{"version": 3, "promotion": "luck"}')

    with pytest.raises(BundleError, match=r"promotion\.json"):
        load_bundle(pair)


def test_a_tree_that_is_no_bundle_is_told_by_its_missing_manifest_and_is_not_walked(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (tmp_path / "link").symlink_to(locked)
    with pytest.raises(
        BundleError, match=r"manifest\.json is missing; a bundle is a directory that holds manifest\.json"
    ):
        load_bundle(tmp_path)
