"""The page in a real browser: what it shows, how it is worked without a mouse, what it saves, and where it asks."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from registry.bundle.directory import Bundle
from serving.problems import MEDIA_TYPE
from spect.formats import npz
from spect.formats.reader import parse_slices
from tests.serving.access.test_access import TOKEN, TOKEN_SHA256
from tests.support.browser import CHROMIUM, DESKTOP, PHONE, Visit, open_browser
from tests.support.followed_directory import make_pair, switch
from tests.support.loopback_server import serve_worker
from tests.support.page_picture import take_picture
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]

SLICES = 12  # that the page shows by itself
WINDOW = 32
OpenVisit = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def url(served_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that nobody has asked for a window of anything."""
    with serve_worker(bundle_dir=served_bundle.path, state_dir=tmp_path_factory.mktemp("state")) as (address, _):
        yield address


@pytest.fixture
def visit(browser: Browser) -> Iterator[OpenVisit]:
    """Open visits that must end without an error, having asked this machine alone."""
    opened: list[Visit] = []

    def begin(**options: object) -> Visit:
        opened.append(Visit(browser, **options))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()
        assert one.errors == []
        assert one.asked_elsewhere() == []


def shown_values(page: Page) -> list[list[str]]:
    """Rows of the table of values."""
    rows = page.locator("#values tbody tr")
    return [row.locator("th, td").all_text_contents() for row in rows.all()]


def shown_at(page: Page, heading: str) -> None:
    """Wait until the slices of this heading are shown and measured."""
    expect(page.locator("#slices-heading")).to_have_text(heading)
    expect(page.locator("#strips .strip")).to_have_count(2)


def test_slices_are_shown_at_once_with_their_measures_and_their_unit(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    shown_at(page, "BG unilateral, seed 0, slices 0 to 11")
    expect(page.locator(".notice")).to_contain_text("research use only")
    expect(page.locator("#slices canvas")).to_have_count(SLICES)
    for n, label in enumerate(page.locator("#slices canvas").evaluate_all("all => all.map(one => one.ariaLabel)")):
        assert label.startswith(f"Synthetic slice {n} of BG unilateral, seed 0: MC ")
    colours = page.locator("#slices canvas").evaluate_all(
        "all => all.map(one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size)"
    )
    assert min(colours) > 20
    expect(page.locator("#scale-unit")).to_have_text("counts")
    expect(page.locator("#reference-heading")).to_contain_text("simulated scans")
    expect(page.locator("#queue")).to_have_text("0")
    expect(page.locator("#model-line")).to_contain_text("learnt from simulated scans")


def test_the_values_are_those_the_service_measures_of_the_slices_asked_for(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    page.locator("#level").select_option("COR")
    page.locator("#pattern").select_option("normal")
    page.locator("#count").fill("5")
    page.locator("#start").fill("3")
    page.locator("#seed").fill("9")
    page.locator("#seed").press("Enter")
    shown_at(page, "COR normal, seed 9, slices 3 to 7")
    asked = {"level": "COR", "pattern": "normal", "count": 5, "start": 3, "seed": 9}
    content = httpx.post(f"{url}/v1/slices", json=asked, timeout=PATIENCE).content
    measured = httpx.post(f"{url}/v1/quantify", files={"file": ("slices", content)}, timeout=PATIENCE).json()["slices"]
    conditions = httpx.get(f"{url}/v1/conditions", timeout=PATIENCE).json()["conditions"]
    reference = next(c for c in conditions if (c["level"], c["pattern"]) == ("COR", "normal"))["reference_quantiles"]
    for index, row, one in zip(range(3, 8), shown_values(page), measured, strict=True):
        mean, ratio = one["mean_counts"], one["left_right_ratio"]
        assert row == [
            str(index),
            f"{mean:.1f}",
            inside(mean, reference["mean_counts"]),
            f"{ratio:.3f}",
            inside(ratio, reference["left_right_ratio"]),
        ]
    page.reload()  # the address keeps what is shown
    shown_at(page, "COR normal, seed 9, slices 3 to 7")


def inside(value: float, quantiles: dict[str, float]) -> str:
    return "inside" if quantiles["0.05"] <= value <= quantiles["0.95"] else "outside"


def test_each_format_is_saved_with_exactly_the_slices_shown(url: str, visit: OpenVisit, tmp_path: Path) -> None:
    page = visit().open(f"{url}/?level=COR&pattern=bilateral&count=3&start=2&seed=5")
    shown_at(page, "COR bilateral, seed 5, slices 2 to 4")
    asked = {"level": "COR", "pattern": "bilateral", "count": 3, "start": 2, "seed": 5}
    shown = npz.load_batch(httpx.post(f"{url}/v1/slices", json=asked, timeout=PATIENCE).content)
    saved = {}
    for name in page.locator("#format option").evaluate_all("all => all.map(one => one.value)"):
        page.locator("#format").select_option(name)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        path = tmp_path / name / waiting.value.suggested_filename
        waiting.value.save_as(path)
        expect(page.locator("#download-status")).to_have_text(f"Saved {path.name}.")
        assert path.name.startswith("synthetic-seed-5.")
        saved[name] = path
    assert set(saved) == {"npz", "npy", "nifti", "dicom", "png", "png-single", "json"}
    for name in ("npz", "npy", "nifti", "dicom"):
        counts = parse_slices(saved[name].read_bytes()).counts
        np.testing.assert_allclose(counts, shown.counts, atol=shown.counts.max() / 2**15)
    assert npz.load_batch(saved["npz"]).index.tolist() == [2, 3, 4]
    assert json.loads(saved["json"].read_text())["index"] == [2, 3, 4]
    assert min(Image.open(io.BytesIO(saved["png"].read_bytes())).size) > 100
    with zipfile.ZipFile(saved["png-single"]) as archive:
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert [picture.size for picture in pictures] == [(64, 64)] * 3


def test_what_was_saved_is_said_until_the_next_action(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    shown_at(page, "BG unilateral, seed 0, slices 0 to 11")
    said = page.locator("#download-status")

    def save() -> None:
        with page.expect_download():
            page.locator("#download button").click()
        expect(said).to_contain_text("Saved synthetic-seed-0")

    save()
    page.locator("#colours").select_option(index=1)
    expect(said).to_be_empty()
    save()
    page.locator("#count").fill("65")
    page.locator("#count").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Slices, 1 to 64: ")
    expect(said).to_be_empty()


def test_a_condition_without_data_is_refused_with_the_reason_and_no_slice_stays(url: str, visit: OpenVisit) -> None:
    one = visit()
    page = one.open(f"{url}/?pattern=bilateral")
    shown_at(page, "BG bilateral, seed 0, slices 0 to 11")
    page.locator("#level").select_option("CER")
    expect(page.get_by_role("alert")).to_contain_text("CER x bilateral")
    expect(page.locator("#result")).to_be_hidden()
    assert "bilateral (no data)" in page.locator("#pattern").inner_text()
    assert page.locator("#pattern option:disabled").all_inner_texts() == ["bilateral (no data)"]
    page.locator("#pattern").select_option("normal")
    shown_at(page, "CER normal, seed 0, slices 0 to 11")
    expect(page.get_by_role("alert")).to_be_empty()
    assert [error for error in one.errors if "422" not in error] == []
    one.errors.clear()  # the browser itself notes the answer 422


def test_a_number_out_of_range_is_said_beside_the_form(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    page.locator("#count").fill("65")
    page.locator("#count").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Slices, 1 to 64: ")


def test_all_of_it_is_worked_by_keyboard(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the slices"
    reached = tab_through(page)
    for name in ("level", "pattern", "count", "start", "seed", "new-seed", "colours", "format"):
        assert name in reached
    assert sum("summary" in one for one in reached) == 1 + 8 + 2  # values, drift board, card and conditions
    page.locator("#level").focus()
    page.keyboard.press("ArrowDown")  # from BG to COR
    shown_at(page, "COR unilateral, seed 0, slices 0 to 11")
    assert focused(page, "id") == "level"  # focus stays where it was
    page.locator("#new-seed").focus()
    page.keyboard.press("Space")
    expect(page.locator("#slices-heading")).not_to_have_text("COR unilateral, seed 0, slices 0 to 11")
    page.locator("#values summary").focus()
    assert "Values as a table" in focused(page)  # also while the slices are measured
    page.keyboard.press("Enter")
    expect(page.locator("#values table")).to_be_visible()
    page.locator("#colours").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#values table")).to_be_visible()  # what was opened stays open


def focused(page: Page, what: str = "textContent") -> str:
    text: str = page.evaluate(f"document.activeElement.{what}")
    return text


def tab_through(page: Page) -> list[str]:
    """Press Tab until the page is left; every stop shows that it has the focus."""
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "() => { const one = document.activeElement; if (one === document.body) return null;"
            " const style = getComputedStyle(one);"
            " return [one.id || one.localName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 1]; }"
        )
        if stop is None:
            return reached
        name, is_outlined = stop
        assert is_outlined, name
        reached.append(name)
    raise AssertionError(f"the focus does not leave the page: {reached[-5:]}")


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)])
def test_nothing_is_wider_than_the_screen_and_the_rules_of_accessibility_hold(
    url: str, visit: OpenVisit, size: tuple[int, int], dark: bool
) -> None:
    page = visit(size=size, dark=dark).open(url)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_drift_board_says_what_was_judged_and_what_was_not(
    served_bundle: Bundle, tmp_path: Path, visit: OpenVisit
) -> None:
    settings = {"drift_sample_every": 1, "drift_window_slices": WINDOW, "drift_cpu_share": 1.0}
    with serve_worker(bundle_dir=served_bundle.path, state_dir=tmp_path, **settings) as (address, worker):
        asked = {"level": "COR", "pattern": "normal", "count": WINDOW, "seed": 3}
        httpx.post(f"{address}/v1/slices", json=asked, timeout=PATIENCE).raise_for_status()
        assert worker.monitor.wait_until_idle()
        report = httpx.get(f"{address}/v1/drift", timeout=PATIENCE).json()
        page = visit().open(address)
        boards = page.locator("#drift details")
        expect(boards).to_have_count(len(report["conditions"]))
        for board, condition in zip(boards.all(), report["conditions"], strict=True):
            expect(board.locator("summary .verdict")).to_have_class(f"verdict {condition['verdict']}")
            board.locator("summary").click()
            judgements = condition["window"]["judgements"] if condition["window"] else []
            expect(board.locator("tbody tr")).to_have_count(len(judgements))
            for row, one in zip(board.locator("tbody tr").all(), judgements, strict=True):
                cells = row.locator("th, td").all_text_contents()
                assert [cells[0], cells[2]] == [one["feature"].replace("_", " "), one["test"]]
                assert float(cells[3]) == pytest.approx(one["score"], rel=0.01)
                assert float(cells[4]) == pytest.approx(one["threshold"], rel=0.01)
                expect(row.locator(".verdict")).to_have_class(f"verdict {one['verdict']}")
        assert {one["window"] is None for one in report["conditions"]} == {True, False}
        expect(page.locator("#drift .not_enough_data").first).to_have_text("… not enough data")


def test_the_picture_of_the_readme_is_small_and_ends_with_the_comparison(url: str, visit: OpenVisit) -> None:
    page = visit().open(url)
    content = take_picture(page)
    assert len(content) < 300_000
    assert Image.open(io.BytesIO(content)).size == (1100, page.viewport_size["height"])
    expect(page.locator("#strips")).to_be_in_viewport(ratio=1)


def test_a_token_is_asked_for_where_the_service_wants_one(
    browser: Browser, served_bundle: Bundle, tmp_path: Path
) -> None:
    with serve_worker(bundle_dir=served_bundle.path, state_dir=tmp_path, token_sha256=TOKEN_SHA256) as (address, _):
        one = Visit(browser)
        page = one.page
        page.goto(address)
        expect(page.get_by_role("alert")).to_contain_text("a bearer token is needed")
        page.get_by_label("Token").fill("wrong")
        page.get_by_label("Token").press("Tab")
        expect(page.get_by_role("alert")).to_contain_text("none of those")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Tab")
        shown_at(page, "BG unilateral, seed 0, slices 0 to 11")
        expect(page.get_by_role("alert")).to_be_empty()
        expect(page.locator("#drift details")).to_have_count(8)
        assert TOKEN not in page.evaluate("location.href + JSON.stringify({...localStorage, ...sessionStorage})")
        assert [error for error in one.errors if "401" not in error] == []
        one.close()


def test_a_swap_of_the_model_is_seen_and_what_was_shown_is_not_saved_from_another(
    tmp_path: Path, browser: Browser
) -> None:
    pairs = [
        make_pair(tmp_path, name, version=version, promotion=promotion, output_gain=gain)
        for name, version, promotion, gain in (("a", "1", "gates", 1.0), ("b", "2", "override", 0.9))
    ]
    switch(tmp_path, pairs[0])
    with serve_worker(bundle_dir=tmp_path, state_dir=tmp_path / "state", poll_seconds=0.1) as (address, worker):
        one = Visit(browser)
        page = one.open(address)
        expect(page.locator("#promotion-line")).to_have_text("Promoted: every gate passed.")
        switch(tmp_path, pairs[1])
        while worker.slot.current().version != "2":
            page.wait_for_timeout(50)
        page.get_by_role("button", name="Download").click()
        expect(page.locator("#download-status")).to_contain_text("another model answers")
        page.get_by_role("button", name="Generate").click()
        expect(page.locator("#status")).to_contain_text("model version 2")
        expect(page.locator("#promotion-line")).to_contain_text("against its gates: “why”")
        expect(page.locator("#promotion-line")).to_have_class("warning")
        assert one.errors == []
        one.close()


def test_a_busy_service_is_waited_for_and_a_failed_measurement_is_said(url: str, browser: Browser) -> None:
    one = Visit(browser)
    refusals = iter([(503, "other uploads are being measured", {"Retry-After": "0"}), (500, "it broke", {})])

    def refuse(route: Route) -> None:
        status, detail, headers = next(refusals)
        route.fulfill(status=status, headers=headers, content_type=MEDIA_TYPE, body=json.dumps({"detail": detail}))

    one.page.route("**/v1/quantify", refuse)
    one.page.goto(url)
    expect(one.page.locator("#reference-line")).to_have_text("Not measured: it broke")
    expect(one.page.locator("#slices canvas")).to_have_count(SLICES)
    expect(one.page.locator("#strips .strip")).to_have_count(0)
    one.close()


def test_a_service_that_is_gone_is_said_in_words(browser: Browser, served_bundle: Bundle, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = serve_worker(bundle_dir=served_bundle.path, state_dir=tmp_path)
        address, _ = stack.enter_context(running)
        one = Visit(browser)
        page = one.open(address)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("the service does not answer")
    one.close()
