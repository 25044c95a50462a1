"""The page without a browser: its files, and what its modules compute, run by Node."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import serving
from serving.access.guard import STATIC_PATHS
from serving.page.files import PAGE_FILES
from spect.formats import npz
from tests.support.asgi_client import AsgiClient

FOLDER = Path(serving.__file__).parent / "page"
ASKED = {"level": "COR", "pattern": "unilateral", "count": 3, "seed": 7, "start": 5}
INSIDE, OUTSIDE = 50.0, 500.0


def _run(code: str, given: object = None) -> Any:
    """Run a module that sees `given` and prints one JSON value; `#x` imports the page's module x."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here")
    opening = 'import fs from "node:fs"; const given = JSON.parse(fs.readFileSync(0));'
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "page"
        shutil.copytree(FOLDER, folder)
        (folder / "package.json").write_text('{"type": "module"}')  # what a browser knows by the script's own type
        (folder / "run.js").write_text(opening + re.sub(r'"#(\w+)"', r'"./\1.js"', code))
        done = subprocess.run(
            [node, folder / "run.js"],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    return json.loads(done.stdout)


def test_every_file_of_the_page_is_served_to_whoever_asks_and_none_is_forgotten(open_client) -> None:
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".html", ".css", ".js"}} == set(PAGE_FILES)
    locked = open_client(token_sha256="0" * 64)
    for name, media_type in PAGE_FILES.items():
        answer = locked.get(f"/page/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.content == (FOLDER / name).read_bytes()
        assert f"/page/{name}" in STATIC_PATHS


def test_the_page_names_only_files_that_are_served_and_holds_no_script_or_style_of_its_own() -> None:
    page = (FOLDER / "index.html").read_text()
    assert set(re.findall(r'(?:src|href)="(/page/[^"]+)"', page)) == {"/page/page.css", "/page/page.js"}
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for module in FOLDER.glob("*.js"):
        text = module.read_text()
        assert {name.removeprefix("./") for name in re.findall(r'from "([^"]+)"', text)} <= set(PAGE_FILES)
        assert not re.search(r"https?:|innerHTML|eval\(", text)


@pytest.mark.parametrize(
    ("promotion", "is_ungated", "words"),
    [
        ("gates", False, "every gate passed"),
        ("override", True, "against its gates: “to try it”"),
        ("outside", True, "by hand, outside the gates"),
        ("none", False, "Not promoted"),
    ],
)
def test_what_did_not_pass_the_gates_stands_out(
    client: AsgiClient, promotion: str, is_ungated: bool, words: str
) -> None:
    model = {**client.get("/v1/model").json(), "promotion": promotion, "promotion_reason": "to try it"}
    code = 'import { describePromotion } from "#model"; console.log(JSON.stringify(describePromotion(given)));'
    shown = _run(code, model)
    assert shown["isUngated"] is is_ungated
    assert words in shown["text"]


def test_the_page_reads_the_arrays_of_an_npz(client: AsgiClient) -> None:
    content = client.post("/v1/slices", json=ASKED).content
    code = """
    import { readArrays } from "#npz";
    const { counts, index, level } = readArrays(Uint8Array.from(Buffer.from(given, "base64")).buffer);
    console.log(JSON.stringify({ shape: counts.shape, counts: [...counts.values], level,
      index: Array.from(index.values, String) }));
    """
    read = _run(code, base64.b64encode(content).decode())
    batch = npz.load_batch(content)
    assert read["shape"] == list(batch.counts.shape)
    np.testing.assert_array_equal(np.float32(read["counts"]), batch.counts.ravel())
    assert read["index"] == ["5", "6", "7"]
    assert "values" not in read["level"]  # words: told from the order, not read


def test_the_colours_are_inferno_and_an_even_grey() -> None:
    code = """
    import { COLOUR_TABLES } from "#colours";
    console.log(JSON.stringify(Object.fromEntries(
      Object.entries(COLOUR_TABLES).map(([name, table]) => [name, [...table]]))));
    """
    tables = {name: np.reshape(table, (256, 4)) for name, table in _run(code).items()}
    assert (tables["grey"][:, :3] == np.arange(256)[:, None]).all()
    expected = 255 * mpl.colormaps["inferno"](np.arange(256))
    assert np.abs(tables["inferno"] - expected).max() < 8
    lightness = tables["inferno"][:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[::5]) > 0).all()  # more counts are never darker


def test_a_colour_bar_ends_at_a_round_number_that_no_count_passes() -> None:
    code = """
    import { roundSteps, roundUp } from "#colours";
    console.log(JSON.stringify(given.map((most) => [roundUp(most), roundSteps(0, roundUp(most), 5)])));
    """
    given = [0.037, 1, 61.3, 118, 4096, 0]
    for most, (top, ticks) in zip(given, _run(code, given), strict=True):
        assert top >= most
        assert top <= 1.5 * most or most == 0
        assert 3 <= len(ticks) <= 8
        assert [float(tick) for tick in ticks] == sorted({float(tick) for tick in ticks})
        assert float(ticks[-1]) <= top + 1e-9


def test_slices_are_laid_beside_the_reference_of_their_condition(client: AsgiClient) -> None:
    conditions = client.get("/v1/conditions").json()["conditions"]
    quantiles = next(one for one in conditions if (one["level"], one["pattern"]) == ("COR", "normal"))
    mean_counts = quantiles["reference_quantiles"]["mean_counts"]
    code = """
    import { describeStrip, findBand } from "#reference";
    const band = findBand(given.quantiles);
    console.log(JSON.stringify({ band, words: describeStrip(given.values, band, 1),
      few: describeStrip(given.values, findBand({}), 1) }));
    """
    shown = _run(code, {"quantiles": mean_counts, "values": [INSIDE, OUTSIDE]})
    assert (shown["band"]["low"], shown["band"]["high"]) == (mean_counts["0.05"], mean_counts["0.95"])
    assert sum(piece["mass"] for piece in shown["band"]["pieces"]) == pytest.approx(0.9)
    assert shown["words"].startswith("1 of 2 inside the reference's 5–95 % range")
    assert "Mean of these 275.0" in shown["words"]
    assert "too small" in shown["few"]
    assert "inside" not in shown["few"]


def test_only_ok_looks_like_ok() -> None:
    verdicts = ["ok", "drift", "not_enough_data", "not_comparable", "invented"]
    code = 'import { describeVerdict } from "#drift"; console.log(JSON.stringify(given.map(describeVerdict)));'
    shown = dict(zip(verdicts, _run(code, verdicts), strict=True))
    assert [verdict for verdict, mark in shown.items() if mark["name"] == "ok" or "✓" in mark["words"]] == ["ok"]
    assert "not enough data" in shown["not_enough_data"]["words"]
    assert shown["invented"] == {"name": "unknown", "words": "? invented"}


def test_throughput_is_the_rise_of_the_counter_over_the_last_seconds(client: AsgiClient) -> None:
    client.post("/v1/slices", json=ASKED)
    code = """
    import { RateHistory, sumMetric } from "#throughput";
    const history = new RateHistory();
    console.log(JSON.stringify({
      made: sumMetric(given.text, "synspect_slices_generated_total"),
      waiting: sumMetric(given.text, "synspect_queue_slices"),
      rates: given.totals.map(([seconds, total]) => history.add(seconds, total)),
    }));
    """
    totals = [(0, 100), (3, 130), (6, 160), (9, 160), (30, 160), (33, 0), (36, 9)]  # it starts again before 33
    shown = _run(code, {"text": client.get("/metrics").text, "totals": totals})
    assert (shown["made"], shown["waiting"]) == (3, 0)
    assert shown["rates"] == [None, 10, 10, pytest.approx(60 / 9), None, None, 3]
