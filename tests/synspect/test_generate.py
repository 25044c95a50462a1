"""`synspect generate` writes the same slices every time, in every format, and nothing at all when it cannot."""

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
        (["--count", "0"], RequestError, f"count must be 1 to {MAX_COUNT}, got 0"),
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
        (["--count", "1025", "--format", "png"], RequestError, "at most 1024"),
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


@pytest.mark.parametrize("name", ["b.nii.gz", "b.dcm", "b", "b.npz.tmp"])
def test_a_name_that_says_no_known_format_is_refused_unless_the_format_is_given(run, tmp_path, name) -> None:
    refused = run("--out", str(tmp_path / name))
    assert isinstance(refused.exception, RequestError)
    assert "ends in none of .npz, .npy, .nii, .png" in str(refused.exception)
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
