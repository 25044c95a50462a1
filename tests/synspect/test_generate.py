"""`synspect generate` writes the same slices every time, in every format, and nothing at all when it cannot."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from registry.bundle.directory import Bundle
from spect.errors import BundleError, ConditionError, InputError, RequestError, ServiceError
from spect.formats import npz
from spect.formats.reader import parse_slices
from synspect.commands.generate import generate
from synspect.source import MAX_COUNT

app = typer.Typer()
app.command()(generate)


@pytest.fixture
def run(tiny_bundle: Bundle, tmp_path: Path):
    """Run the command in an empty folder; return its result, with whatever error it raised."""

    def run_command(*options: str, bundle: Path | None = tiny_bundle.path):
        source = [] if bundle is None else ["--bundle", str(bundle)]
        asked = ["--level", "COR", "--pattern", "unilateral", *source, *options]
        return CliRunner().invoke(app, asked)

    return run_command


def test_the_same_command_twice_gives_the_same_file(run, tmp_path) -> None:
    for name in ("a.npz", "b.npz"):
        assert run("--count", "64", "--seed", "7", "--out", str(tmp_path / name)).exit_code == 0

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    batch = npz.load_batch(tmp_path / "a.npz")
    assert batch.counts.shape == (64, 64, 64)
    assert set(batch.pattern.tolist()) == {"unilateral"}
    assert batch.index.tolist() == list(range(64))


def test_one_call_of_64_equals_64_calls_of_one(run, tmp_path) -> None:
    run("--count", "64", "--seed", "7", "--out", str(tmp_path / "all.npz"))
    together = npz.load_batch(tmp_path / "all.npz").counts

    for start in range(64):
        run("--count", "1", "--seed", "7", "--start", str(start), "--out", str(tmp_path / "one.npz"))
        np.testing.assert_array_equal(npz.load_batch(tmp_path / "one.npz").counts[0], together[start])


def test_neighbouring_seeds_share_no_slice(run, tmp_path) -> None:
    for seed in ("7", "8"):
        run("--count", "32", "--seed", seed, "--out", str(tmp_path / f"{seed}.npz"))
    seven, eight = (npz.load_batch(tmp_path / f"{seed}.npz").counts for seed in ("7", "8"))

    assert not {counts.tobytes() for counts in seven} & {counts.tobytes() for counts in eight}


def test_a_drawn_seed_is_told_and_repeats_the_slices(run, tmp_path) -> None:
    told = run("--count", "2", "--out", str(tmp_path / "drawn.npz")).output
    seed = told.split("seed ")[1].split(",")[0]

    run("--count", "2", "--seed", seed, "--out", str(tmp_path / "again.npz"))

    assert (tmp_path / "drawn.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize("name", ["batch.npz", "batch.synthetic.npy", "batch.nii"])
def test_every_format_holds_the_same_counts(run, tmp_path, name) -> None:
    run("--count", "3", "--seed", "1", "--out", str(tmp_path / "reference.npz"))

    assert run("--count", "3", "--seed", "1", "--out", str(tmp_path / name)).exit_code == 0

    expected = npz.load_batch(tmp_path / "reference.npz").counts
    np.testing.assert_array_equal(parse_slices(tmp_path / name).counts, expected)


def test_a_picture_is_written_and_the_format_may_be_forced(run, tmp_path) -> None:
    run("--count", "3", "--format", "png", "--out", str(tmp_path / "sheet"))

    assert (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG")


def test_dicom_is_written_by_name_and_reads_back(run, tmp_path) -> None:
    for name in ("batch.npz", "batch.dicom.zip"):
        assert run("--count", "2", "--seed", "1", "--out", str(tmp_path / name)).exit_code == 0

    counts = npz.load_batch(tmp_path / "batch.npz").counts
    np.testing.assert_allclose(parse_slices(tmp_path / "batch.dicom.zip").counts, counts, atol=counts.max() * 1e-5)


@pytest.mark.parametrize("target", [[], ["--left-right-ratio", "0.8", "--matrix", "128"]])
@pytest.mark.parametrize("name", ["npz", "npy", "nifti", "dicom", "png", "png-single"])
def test_the_command_writes_what_the_service_answers(run, tiny_bundle, tmp_path, name: str, target: list[str]) -> None:
    format_name, _, layout = name.partition("-")
    options = ["--format", format_name, *(["--layout", layout] if layout else []), *target]

    assert run("--count", "3", "--seed", "1", *options, "--out", str(tmp_path / "synthetic")).exit_code == 0

    asked = {"left_right_ratio": 0.8, "matrix": 128} if target else {}
    body = {"level": "COR", "pattern": "unilateral", "count": 3, "seed": 1, "format": format_name, **asked}
    answer = answer_of_the_service(tiny_bundle.path, tmp_path, body, f"?layout={layout}" if layout else "")
    assert (tmp_path / "synthetic").read_bytes() == answer


def answer_of_the_service(bundle: Path, folder: Path, body: dict, query: str) -> bytes:
    from prometheus_client import CollectorRegistry

    from serving.metrics import ServiceMetrics
    from serving.routes import build_app
    from serving.settings import ServiceSettings
    from serving.worker import Worker
    from tests.support.asgi_client import AsgiClient

    settings = ServiceSettings.model_validate({"bundle_dir": bundle, "state_dir": folder / "state"})
    client = AsgiClient(build_app(Worker(settings, ServiceMetrics(CollectorRegistry()))), peer=("127.0.0.1", 50000))
    try:
        response = client.post(f"/v1/slices{query}", json=body)
        assert response.status_code == 200
        return response.content
    finally:
        client.close()


def test_single_pictures_are_a_zip(run, tmp_path) -> None:
    assert run("--count", "3", "--layout", "single", "--out", str(tmp_path / "pictures.zip")).exit_code == 0

    with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
        assert len(archive.namelist()) == 3


@pytest.mark.parametrize("place", ["/proc/batch.npz", "n" * 300 + ".npz"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(run, tmp_path, place: str) -> None:
    refused = run("--count", "16384", "--out", str(tmp_path / place))

    assert isinstance(refused.exception, RequestError)
    assert "cannot be written" in str(refused.exception)
    assert "\n" not in str(refused.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_not_replaced_by_a_file(run) -> None:
    refused = run("--format", "npz", "--out", "/dev/null")

    assert "is a device or a pipe" in str(refused.exception)
    assert Path("/dev/null").is_char_device()


def test_another_matrix_keeps_the_field(run, tmp_path) -> None:
    run("--matrix", "128", "--out", str(tmp_path / "fine.npz"))

    batch = npz.load_batch(tmp_path / "fine.npz")
    assert batch.counts.shape == (1, 128, 128)
    assert batch.pixel_spacing_mm == 2.0


def test_an_asked_asymmetry_is_delivered(run, tmp_path) -> None:
    from spect.quantify import quantify

    run("--count", "8", "--left-right-ratio", "0.75", "--out", str(tmp_path / "left.npz"))

    batch = npz.load_batch(tmp_path / "left.npz")
    ratios = quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm).left_right_ratio
    np.testing.assert_allclose(ratios, 0.75, atol=0.02)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["--count", "0"], RequestError, f"count must be an integer from 1 to {MAX_COUNT}, got 0"),
        (["--count", "1000000000"], RequestError, "got 1000000000"),
        (["--count", "-5"], RequestError, "got -5"),
        (["--seed", "-1"], RequestError, "seed must be"),
        (["--seed", str(2**53)], RequestError, "seed must be"),
        (["--start", "-1"], RequestError, "start must be"),
        (["--level", "TOP"], ConditionError, "unknown level 'TOP'; use one of CER, BG, COR"),
        (["--level", "CER", "--pattern", "bilateral"], ConditionError, "CER x bilateral has no data"),
        (["--matrix", "100"], RequestError, "matrix must be one of 64, 128, 256, got 100"),
        (["--left-right-ratio", "-1"], RequestError, "must be positive"),
        (["--left-right-ratio", "nan"], RequestError, "must be positive"),
        (["--left-right-ratio", "9"], RequestError, "outside what the reference supports"),
        (["--mean-counts", "nan"], RequestError, "outside what the reference supports"),
        (["--count", "1025", "--format", "png"], RequestError, "at most 256 as png, got 1025; ask for layout single"),
        (["--layout", "single"], RequestError, "--layout is of pictures, but the format is npz"),
        (["--layout", "sheet", "--format", "dicom"], RequestError, "--layout is of pictures, but the format is dicom"),
        (["--format", "npy"], RequestError, r"--out .*out\.synthetic\.npy"),
        (["--url", "http://127.0.0.1:1"], RequestError, "url and a bundle"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_leaves_no_file(run, tmp_path, options, error, words) -> None:
    result = run("--out", str(tmp_path / "out.npz"), *options)

    assert isinstance(result.exception, error)
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    with pytest.raises(error, match=words):
        raise result.exception
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_missing_folder_are_no_file(run, tmp_path) -> None:
    for out in (tmp_path, tmp_path / "none" / "b.npz"):
        assert isinstance(run("--out", str(out)).exception, RequestError)


@pytest.mark.parametrize("name", ["b.nii.gz", "b.dcm", "b", "b.npz.tmp", "b.zip"])
def test_a_name_that_says_no_known_format_is_refused_unless_the_format_is_given(run, tmp_path, name) -> None:
    refused = run("--out", str(tmp_path / name))
    assert isinstance(refused.exception, RequestError)
    assert "ends in none of .npz, .npy, .nii, .dicom.zip, .png" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []

    assert run("--format", "npz", "--out", str(tmp_path / name)).exit_code == 0
    assert len(npz.load_batch(tmp_path / name)) == 1


def test_a_bundle_with_a_changed_byte_is_refused(run, tmp_path, tiny_bundle) -> None:
    import shutil

    copy = shutil.copytree(tiny_bundle.path, tmp_path / "bundle")
    graph = bytearray((copy / "generator.onnx").read_bytes())
    graph[100] ^= 1
    (copy / "generator.onnx").write_bytes(graph)

    result = run("--out", str(tmp_path / "out.npz"), bundle=copy)

    assert isinstance(result.exception, BundleError)
    assert "sha256" in str(result.exception)
    assert not (tmp_path / "out.npz").exists()


def test_a_service_that_is_not_there_is_named(run, tmp_path) -> None:
    result = run("--out", str(tmp_path / "out.npz"), "--url", "http://127.0.0.1:1", bundle=None)

    assert isinstance(result.exception, ServiceError)
    assert "no service answers at http://127.0.0.1:1" in str(result.exception)


def test_an_existing_file_survives_a_failure(run, tmp_path) -> None:
    kept = tmp_path / "batch.npz"
    kept.write_bytes(b"precious")

    run("--left-right-ratio", "9", "--out", str(kept))

    assert kept.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [kept]
