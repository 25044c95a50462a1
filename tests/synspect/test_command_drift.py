"""`synspect drift check`: new scans against the reference of a bundle, as a table and as JSON."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cohort.store import CohortDescription, build_cohort, save_cohort
from spect.errors import CohortError, RequestError, ServiceError
from spect.features import compute_features
from synspect.commands.drift import app
from tests.support.drift_samples import SPACING_MM, draw_slices, patients_of, profile_of
from tests.support.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = compute_features(draw_slices(300, np.random.default_rng(0)), pixel_spacing_mm=SPACING_MM)
    return build_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", profile=profile_of(own).to_json()).path


def _write_cohort(directory: Path, counts: np.ndarray, *, unit: str = "counts") -> Path:
    description = CohortDescription(
        name="new",
        pixel_spacing_mm=SPACING_MM,
        intensity_unit=unit,
        intensity_scaling="whole-cohort",
        source="acquired",
    )
    labels = {"level": "COR", "pattern": "normal", "split": "test"}
    arrays = {name: np.full(len(counts), word) for name, word in labels.items()}
    save_cohort(build_cohort({"counts": counts, "patient": patients_of(len(counts)), **arrays}, description), directory)
    return directory


def _check(cohort: Path, *options: str) -> dict:
    result = CliRunner().invoke(app, ["check", str(cohort), "--json", *options], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_scans_like_the_reference_are_ok_and_darker_ones_drift(bundle, tmp_path) -> None:
    counts = draw_slices(40, np.random.default_rng(1))
    alike = _check(_write_cohort(tmp_path / "alike", counts), "--bundle", str(bundle))
    darker = _check(_write_cohort(tmp_path / "darker", counts * np.float32(0.6)), "--bundle", str(bundle))
    assert (alike["verdict"], alike["slices"]) == ("ok", 40)
    assert darker["verdict"] == "drift"


def test_another_unit_is_not_comparable(bundle, tmp_path) -> None:
    cohort = _write_cohort(tmp_path / "other", draw_slices(40, np.random.default_rng(1)), unit="Bq/ml")
    answer = _check(cohort, "--bundle", str(bundle))
    assert answer["verdict"] == "not_comparable"


def test_few_scans_are_not_enough_data(bundle, tmp_path) -> None:
    cohort = _write_cohort(tmp_path / "few", draw_slices(8, np.random.default_rng(1)))
    assert _check(cohort, "--bundle", str(bundle))["verdict"] == "not_enough_data"


def test_the_table_names_verdict_effect_and_margin(bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    cohort = _write_cohort(tmp_path / "alike", draw_slices(40, np.random.default_rng(1)))
    result = CliRunner().invoke(app, ["check", str(cohort), "--bundle", str(bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "COR/normal" in result.stdout
    assert "margin 0.95 to 1.05" in result.stdout


def test_no_word_of_the_table_is_broken_at_80_columns(bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cohort = _write_cohort(tmp_path / "other", draw_slices(40, np.random.default_rng(1)), unit="Bq/ml")

    result = CliRunner().invoke(app, ["check", str(cohort), "--bundle", str(bundle)], catch_exceptions=False)

    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    said = set(result.stdout.split())
    answer = _check(cohort, "--bundle", str(bundle))["judgements"]
    for field in ("feature", "verdict", "test"):
        assert {word for one in answer for word in one[field].split("_")} <= said
    assert {f"{one['level']}/{one['pattern']}" for one in answer} <= said


def test_a_picture_is_written_where_it_was_asked_for(bundle, tmp_path) -> None:
    cohort = _write_cohort(tmp_path / "darker", draw_slices(40, np.random.default_rng(1)) * np.float32(0.6))
    picture = tmp_path / "darker.png"
    _check(cohort, "--bundle", str(bundle), "--picture", str(picture))
    assert Image.open(picture).text["Software"] == "synspect"
    with pytest.raises(RequestError, match="no directory"):
        _check(cohort, "--bundle", str(bundle), "--picture", str(tmp_path / "absent" / "darker.png"))


def test_what_cannot_be_checked_is_refused(bundle, tmp_path) -> None:
    cohort = _write_cohort(tmp_path / "alike", draw_slices(4, np.random.default_rng(1)))
    with pytest.raises(RequestError, match="both given"):
        CliRunner().invoke(
            app, ["check", str(cohort), "--bundle", str(bundle), "--url", "http://127.0.0.1:9"], catch_exceptions=False
        )
    with pytest.raises(CohortError, match="not a directory"):
        CliRunner().invoke(app, ["check", str(tmp_path / "absent"), "--bundle", str(bundle)], catch_exceptions=False)
    with pytest.raises(ServiceError, match="no service answers"):
        CliRunner().invoke(app, ["check", str(cohort), "--url", "http://127.0.0.1:9"], catch_exceptions=False)


def test_the_token_of_the_environment_goes_to_the_service(tmp_path, monkeypatch) -> None:
    seen: list[str | None] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["Authorization"])
            answer = json.dumps({"verdict": "ok", "slices": 4, "unmeasurable": 0, "judgements": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("SYNSPECT_TOKEN", "letmein")
    cohort = _write_cohort(tmp_path / "alike", draw_slices(4, np.random.default_rng(1)))
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.handle_request).start()
        assert _check(cohort, "--url", f"http://127.0.0.1:{server.server_port}")["verdict"] == "ok"
    assert seen == ["Bearer letmein"]
